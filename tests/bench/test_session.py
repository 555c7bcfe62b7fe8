from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from jobkit.bench import contenders, session
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
    run = Session(Choices(ranks=(2, 3), against=(missing,), effort=QUICK), said.append)

    rows = list(run.results())

    assert [[(result.contender, result.case.size) for result in row] for row in rows] == [
        [("jobkit", 2)],
        [("jobkit", 3)],
    ]
    assert sum("missing: does not take part" in line for line in said) == 2
    assert not run.failed


def test_who_needs_processors_stays_away_where_ranks_outnumber_them(
    fake: Callable[[str, str], Contender], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    peer = replace(
        fake("peer", "Fake.call = lambda self, op, x, form: Call(lambda: x)"), needs_processors=True
    )
    monkeypatch.setattr(contenders, "peers", lambda *_: [peer])
    monkeypatch.setattr(session, "processors", lambda: 2)
    run = Session(Choices(ranks=(2, 3), sizes=(8,), effort=QUICK), said.append)

    assert [[result.contender for result in row] for row in run.results()] == [["jobkit", "peer"], ["jobkit"]]
    assert "peer: does not take part: 3 ranks on 2 processors" in said


def test_moments_are_measured_one_contender_after_the_other(fake: Callable[[str, str], Contender]) -> None:
    said: list[str] = []
    peer = fake("peer", "Fake.call = lambda self, op, x, form: Call(lambda: x)").library
    missing = fake("missing", "import no_such_library").library
    run = Session(Choices(ranks=(2, 3), against=(peer, missing), effort=QUICK), said.append)

    formed = list(run.moments(idle_s=0.0))
    waited = list(run.moments(idle_s=0.1))

    expected = [("jobkit", 2), ("peer", 2), ("jobkit", 3), ("peer", 3)]
    assert [(one.contender, one.ranks) for one in formed if isinstance(one, Forming)] == expected
    assert [(one.contender, one.ranks) for one in waited if isinstance(one, Waiting)] == expected
    assert len(said) == 4
    assert not run.failed


def test_a_peer_that_crashes_does_not_end_the_others(fake: Callable[[str, str], Contender]) -> None:
    crashing = fake("crashing", "def call(self, op, x, form): os._exit(3)\nFake.call = call").library
    run = Session(Choices(sizes=(8, 16), against=(crashing,), effort=QUICK), print)

    assert [[result.contender for result in row] for row in run.results()] == [["jobkit"], ["jobkit"]]
    assert not run.failed
