from __future__ import annotations

from collections.abc import Callable

from jobkit.bench.choices import Choices
from jobkit.bench.contenders import Contender
from jobkit.bench.measure import Effort
from jobkit.bench.moments import Forming, Waiting
from jobkit.bench.session import Session

QUICK = Effort(rounds=1, seconds=0.001, deadline_s=60)


def test_each_number_of_ranks_has_ranks_of_its_own_and_a_peer_that_is_missing_is_reported(
    fake: Callable[[str, str], Contender],
) -> None:
    said: list[str] = []
    missing = fake("missing", "import no_such_library").library
    session = Session(Choices(ranks=(2, 3), against=(missing,), effort=QUICK), said.append)

    rows = list(session.results())

    assert [[(result.contender, result.case.size) for result in row] for row in rows] == [
        [("jobkit", 2)],
        [("jobkit", 3)],
    ]
    assert sum("missing: does not take part" in line for line in said) == 2
    assert not session.failed


def test_moments_are_measured_one_contender_after_the_other(fake: Callable[[str, str], Contender]) -> None:
    said: list[str] = []
    peer = fake("peer", "Fake.call = lambda self, op, x, form: Call(lambda: x)").library
    missing = fake("missing", "import no_such_library").library
    session = Session(Choices(ranks=(2, 3), against=(peer, missing), effort=QUICK), said.append)

    formed = list(session.moments(idle_s=0.0))
    waited = list(session.moments(idle_s=0.1))

    expected = [("jobkit", 2), ("peer", 2), ("jobkit", 3), ("peer", 3)]
    assert [(one.contender, one.ranks) for one in formed if isinstance(one, Forming)] == expected
    assert [(one.contender, one.ranks) for one in waited if isinstance(one, Waiting)] == expected
    assert len(said) == 4
    assert not session.failed


def test_a_peer_that_crashes_does_not_end_the_others(fake: Callable[[str, str], Contender]) -> None:
    crashing = fake("crashing", "def call(self, op, x, form): os._exit(3)\nFake.call = call").library
    session = Session(Choices(sizes=(8, 16), against=(crashing,), effort=QUICK), print)

    assert [[result.contender for result in row] for row in session.results()] == [["jobkit"], ["jobkit"]]
    assert not session.failed
