from __future__ import annotations

from jobkit.bench.cases import case
from jobkit.bench.measure import Result
from jobkit.bench.verdict import verdicts, worst


def result(who: str, time_s: float, n_bytes: int = 8, *, is_default: bool = False) -> Result:
    one = case("all_sum", 2, n_bytes, "float32", "out")
    return Result(who, who, one, "out", time_s, time_s, time_s, time_s, 0.0, 0, is_default=is_default)


def test_we_are_compared_with_the_fastest_of_the_others() -> None:
    (found,) = verdicts([[result("jobkit", 2.0), result("a", 3.0), result("b", 4.0, is_default=True)]])

    assert found.best is not None and found.best_default is not None
    assert (found.best.contender, found.best_default.contender, found.ratio) == ("a", "b", 1.5)


def test_the_worst_case_is_the_one_in_which_another_is_furthest_ahead() -> None:
    rows = [[result("jobkit", 1.0, n), result("a", peer, n)] for n, peer in ((8, 3.0), (16, 0.5), (32, 2.0))]

    found = worst(verdicts([*rows, [result("jobkit", 9.0, 64)], [result("a", 1.0, 128)]]))

    assert found is not None and (found.case.n_bytes, found.ratio) == (16, 0.5)


def test_nobody_to_compare_with_is_no_verdict() -> None:
    assert worst(verdicts([[result("jobkit", 1.0)]])) is None
