from __future__ import annotations

import dataclasses

import pytest

from jobkit.cli.foreground import of_rank, table
from jobkit.env.record import RankExit

FAILED = RankExit(
    1, "a", 3, None, False, None, "exit", "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:01.500Z", 0
)
KILLED = RankExit(0, "a", 137, "SIGKILL", True, None, "signal", FAILED.started, FAILED.ended, 1)


@pytest.mark.parametrize(
    ("first", "size", "text"),
    [
        (FAILED, 2, "rank 1 of 2 on a exited with status 3; the other ranks were ended"),
        (FAILED, 1, "rank 1 of 1 on a exited with status 3"),
        (KILLED, 1, "rank 0 of 1 on a was killed by SIGKILL"),
        (
            dataclasses.replace(FAILED, hint="meet first"),
            1,
            "rank 1 of 1 on a exited with status 3\n\nhint: meet first",
        ),
    ],
)
def test_a_failure_is_told_in_a_sentence(first: RankExit, size: int, text: str) -> None:
    assert of_rank(first, size) == text


def test_a_table_tells_how_each_rank_ended() -> None:
    assert table([FAILED, KILLED]).splitlines() == [
        "rank  host  status  signal   seconds",
        "0     a     137     SIGKILL  1.50     ended with the job",
        "1     a     3                1.50",
    ]
