from __future__ import annotations

from collections.abc import Callable

from jobkit.bench import contenders
from jobkit.bench.cases import case, cases
from jobkit.bench.contenders import Contender
from jobkit.bench.crew import Crew
from jobkit.bench.measure import Effort, Result, measure

QUICK = Effort(rounds=3, seconds=0.002, deadline_s=60)
Fake = Callable[[str, str], Contender]
Start = Callable[..., Crew]

SLEEPER = """
    def call(self, op, x, form):
        if x.size > 100:
            os._exit(3)
        return Call(lambda: time.sleep(0.001), x)
    Fake.call = call
    """


def test_every_contender_has_its_turns_and_one_that_dies_is_left_out(crew: Start, fake: Fake) -> None:
    said: list[str] = []
    crews = [crew(), crew(fake("sleeper", SLEEPER))]
    what = cases(["all_sum"], 2, [8, 1024, 2048], ["float32"], ["out"])

    rows = list(measure(crews, None, what, QUICK, said.append))

    assert [[result.contender for result in row] for row in rows] == [
        ["jobkit", "sleeper"],
        ["jobkit"],
        ["jobkit"],
    ]
    assert len(said) == 1 and said[0].startswith("sleeper: all_sum of 1024 bytes (float32): rank ")
    ours, theirs = rows[0]
    assert ours.wrong == 0
    # It gives back its own numbers, 0 3 on rank 0 and 3 2 on rank 1; the sum is 3 5.
    assert theirs.wrong == 3 * QUICK.rounds
    assert theirs.time_s >= 0.001


def test_the_limit_is_measured_beside_large_cases_only(crew: Start) -> None:
    limit = crew(contenders.limit("shm"))
    what = cases(["all_gather"], 2, [64, 1 << 16], ["int32"], ["out"])

    small, large = measure([crew()], limit, what, QUICK, print)

    assert small[0].of_limit is None
    assert large[0].of_limit is not None and large[0].of_limit > 0


def test_a_case_that_a_contender_does_not_serve_is_without_it(crew: Start, fake: Fake) -> None:
    what = cases(["all_sum", "all_to_all"], 2, [8], ["float32"], ["out"])
    partly = """
    def call(self, op, x, form):
        if op == "all_to_all":
            return Library.call(self, op, x, form)
        return Call(lambda: x)
    Fake.call = call
    """
    rows = list(measure([crew(fake("partly", partly))], None, what, QUICK, print))

    assert [len(row) for row in rows] == [1, 0]


def test_rates_follow_from_bytes_and_time() -> None:
    result = Result(
        "a", "a 1", case("all_sum", 4, 4096, "float32", "out"), "out", 1e-6, 0, 0, 0, 0, 0, limit=12.288e9
    )

    assert (result.algbw, result.busbw, result.of_limit) == (4.096e9, 6.144e9, 0.5)
