from __future__ import annotations

import pytest

from jobkit.agent.verdict import first_failure
from jobkit.env.record import RankExit


def ended(rank: int, status: int, order: int, victim_of: int | None = None, by_us: bool = False) -> RankExit:
    return RankExit(rank, "a", status, None, by_us, victim_of, "exit", "t0", "t1", order)


@pytest.mark.parametrize(
    ("exits", "first"),
    [
        ([], None),
        ([ended(0, 0, 0), ended(1, 0, 1)], None),
        ([ended(0, 3, 1), ended(1, 4, 0)], 1),
        ([ended(0, 143, 1, by_us=True), ended(1, 0, 0)], None),
        # A victim does not count while its culprit failed too, however late.
        ([ended(0, 1, 0, victim_of=1), ended(1, 9, 1)], 1),
        # It does when the culprit did not fail.
        ([ended(0, 1, 0, victim_of=1), ended(1, 0, 1)], 0),
        ([ended(0, 1, 0, victim_of=1), ended(1, 143, 1, by_us=True)], 0),
        # Blame is followed to its end.
        ([ended(0, 1, 0, victim_of=1), ended(1, 1, 1, victim_of=2), ended(2, 9, 2)], 2),
        # Two that blame each other: the first in time.
        ([ended(0, 1, 1, victim_of=1), ended(1, 2, 0, victim_of=0)], 1),
    ],
)
def test_the_failure_that_counts(exits: list[RankExit], first: int | None) -> None:
    found = first_failure(exits)
    assert (None if found is None else found.rank) == first
