"""The table of schedules: its text, what it chooses, and that rank 0's is everybody's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jobkit.native import _core

ALL_SUM, ALL_MAX, SUM_SCATTER, ALL_GATHER, BROADCAST, ALL_TO_ALL, BARRIER, SPLIT = 0, 1, 3, 6, 7, 8, 11, 12
INT64, FLOAT16, FLOAT32 = 8, 9, 11
KIB = 1024


def chosen(call: int, size: int, count: int, **options: Any) -> str:
    return _core.plan(call, 0, size, count, **options)[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "all_sum=ring",
        "all_sum@2=one-shot,all_sum@3-4:65536=rabenseifner,barrier@9-=bruck",
        "all_sum:1-8=one-shot,all_sum@2:4096-=two-shot",
        "sum_scatter:0=ring,all_gather=bruck,broadcast=two-level,all_to_all=direct,gather=ring,scatter=ring",
    ],
)
def test_a_table_is_text_and_text_is_a_table(text: str) -> None:
    assert _core.schedule_table(text) == text


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("all_sum", "unknown schedule, got '', expected one of one-shot, two-shot, ring"),
        ("all_sum=tree", "unknown schedule, got 'tree'"),
        ("all_max=ring", "unknown call, got 'all_max', expected one of all_sum, sum_scatter"),
        ("all_sum@x=ring", "not a number, got 'x'"),
        ("all_sum@2-x=ring", "not a number, got 'x'"),
        ("all_sum@0-=ring", "no sizes of a group, got '0-', expected N, N-M or N- with 1 <= N <= M"),
        ("all_sum@4-3=ring", "no sizes of a group, got '4-3'"),
        ("all_sum:1k=ring", "not a number, got '1k'"),
        ("all_sum:-1=ring", "not a number, got ''"),
        ("all_sum:1-x=ring", "not a number, got 'x'"),
        ("all_sum:9-8=ring", "no numbers of bytes, got '9-8', expected N, N-M or N- with N <= M"),
        ("all_sum=ring,,", "row '': unknown call"),
    ],
)
def test_a_row_that_is_wrong_is_named(text: str, wrong: str) -> None:
    with pytest.raises(ValueError) as error:
        _core.schedule_table(text)

    assert wrong in str(error.value)


def test_the_first_row_that_fits_counts() -> None:
    table = "all_sum@4:400=rabenseifner,all_sum@3-4=recursive-doubling,all_gather=bruck"

    assert chosen(ALL_SUM, 4, 100, table=table) == "rabenseifner"
    assert chosen(ALL_MAX, 4, 101, table=table) == "recursive-doubling"
    assert chosen(ALL_SUM, 3, 100, table=table) == "recursive-doubling"
    assert chosen(ALL_SUM, 5, 100, table=table) == chosen(ALL_SUM, 5, 100)
    assert chosen(SPLIT, 5, 3, table=table) == "bruck"


def test_a_row_is_for_numbers_of_bytes_from_its_first_to_its_last() -> None:
    table = "all_sum@4:401-799=rabenseifner,all_sum@4:4000-=recursive-doubling"
    built_in = chosen(ALL_SUM, 4, 100)

    found = [chosen(ALL_SUM, 4, count, table=table) for count in (100, 101, 199, 200, 999, 1000, 1 << 60)]

    assert found == [built_in, *["rabenseifner"] * 2, *[built_in] * 2, *["recursive-doubling"] * 2]


def test_no_table_chooses_what_is_not_possible() -> None:
    assert chosen(ALL_SUM, 4, 100, table="all_sum=one-shot", topology="neighbours") == "ring"
    assert chosen(ALL_SUM, 4, 100, table="all_sum=two-level") == chosen(ALL_SUM, 4, 100)
    assert chosen(ALL_SUM, 4, 100, table="all_sum=two-level", nodes=[0, 0, 1, 1]) == "two-level"
    assert chosen(ALL_SUM, 4, 100, table="all_sum=two-level", nodes=[0, 0, 0, 1]) == chosen(ALL_SUM, 4, 100)
    assert chosen(ALL_SUM, 1, 100, table="all_sum=ring") == "local"


@pytest.mark.parametrize("schedule", ["recursive-doubling", "rabenseifner", "two-level"])
def test_sums_of_16_bits_never_lie_in_memory_before_the_last_rounding(schedule: str) -> None:
    options = {"table": f"all_sum={schedule}", "nodes": [0, 0, 1, 1]}

    assert chosen(ALL_SUM, 4, 10, rounds=False, **options) == schedule
    assert chosen(ALL_SUM, 4, 10, rounds=True, **options) in ("one-shot", "two-shot")


@pytest.mark.parametrize("call", [ALL_SUM, SUM_SCATTER, ALL_GATHER, BROADCAST, 8, 9, 10, BARRIER, SPLIT])
def test_the_built_in_table_has_a_schedule_for_everything(call: int) -> None:
    for size in (1, 2, 3, 4, 5, 8, 9, 64, 256):
        for count in (0, 1, 64 * KIB, 1 << 40):
            assert chosen(call, size, count)
            assert chosen(call, size, count, topology="neighbours") in ("ring", "local")


Times = dict[str, list[float]]


def measured(size: int, timings: dict[int, Times]) -> str:
    """Return the table that the times of each schedule make, by bytes."""
    rows = [
        (n_bytes, schedule, each)
        for n_bytes, schedules in timings.items()
        for schedule, times in schedules.items()
        for each in times
    ]
    return str(_core.measured_table(ALL_SUM, size, rows))


def test_a_schedule_that_was_clearly_faster_is_chosen_around_the_size_it_was_measured_at() -> None:
    slow, fast = [5.0, 5.0, 9.0], [4.0, 3.0, 3.0]
    timings = {
        1 * KIB: {"one-shot": slow, "two-shot": fast, "rabenseifner": [4.0, 4.0, 4.0]},
        4 * KIB: {"one-shot": fast, "two-shot": slow},
        16 * KIB: {"one-shot": slow, "recursive-doubling": fast},
        64 * KIB: {"one-shot": fast, "two-shot": slow},
        256 * KIB: {"two-shot": slow, "recursive-doubling": fast},
    }

    assert measured(4, timings) == (
        "all_sum@4:2048=two-shot,all_sum@4:8193-32768=recursive-doubling,"
        "all_sum@4:32769-131072=one-shot,all_sum@4:131073-262144=recursive-doubling"
    )


@pytest.mark.parametrize(
    "other",
    [
        [4.5, 4.5, 4.5],  # not by 15 %
        [3.0, 5.0, 5.0],  # once
        [4.4, 2.0, 2.0, 9.0, 9.0],  # in its best time alone
    ],
)
def test_the_built_in_schedule_stays_where_another_is_not_clearly_faster(other: list[float]) -> None:
    assert measured(4, {KIB: {"one-shot": [5.0, 5.0, 5.0], "two-shot": other}}) == ""


def test_a_size_at_which_the_built_in_schedule_was_not_measured_keeps_it() -> None:
    assert measured(4, {KIB: {"two-shot": [2.0], "rabenseifner": [1.0]}}) == ""
    assert measured(4, {}) == ""


def test_rank_0s_table_is_everybodys(threads: Callable[..., list[Any]]) -> None:
    """Only the ring adds the last small part after the large ones, in two of its four segments."""

    def program(group: Any) -> Any:
        x = np.full(400, [1e8, 1, -1e8, 1][group.rank], np.float32)
        total = np.empty_like(x)
        group.all_reduce(ALL_SUM, x, total, x.size, FLOAT32)
        return total

    wanted = ["all_sum=ring", "all_sum=rabenseifner", "all_sum=one-shot", ""]
    for total in threads(4, program, each=[{"schedules": schedules} for schedules in wanted]):
        assert total.tolist() == ([0] * 100 + [1] * 100) * 2


@pytest.mark.parametrize("schedule", ["one-shot", "two-shot", "recursive-doubling", "rabenseifner", "ring"])
@pytest.mark.parametrize("in_place", [False, True])
def test_every_schedule_runs_on_the_engine(
    threads: Callable[..., list[Any]], schedule: str, in_place: bool
) -> None:
    def program(group: Any) -> Any:
        totals = []
        for count in (1, 1000, 300_000):
            x = np.arange(count, dtype=np.int64) * (group.rank + 1)
            total = x if in_place else np.empty_like(x)
            group.all_reduce(ALL_SUM, x, total, count, INT64)
            totals.append(total)
        return totals

    for totals in threads(3, program, schedules=f"all_sum={schedule}"):
        for total in totals:
            assert (total == np.arange(total.size) * 6).all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_ring_gives_every_rank_the_same_bits_again_and_again(
    threads: Callable[..., list[Any]], dtype: str
) -> None:
    """Its order of summation is another than the fixed tree's, and not each rank's own."""

    def program(group: Any) -> set[bytes]:
        x = np.random.default_rng(group.rank).normal(size=10_007).astype(dtype)
        totals = [np.empty_like(x) for _ in range(3)]
        for total in totals:
            group.all_reduce(ALL_SUM, x, total, x.size, {"float16": FLOAT16, "float32": FLOAT32}[dtype])
        return {total.tobytes() for total in totals}

    runs = [found for _ in range(2) for found in threads(5, program, schedules="all_sum=ring")]
    assert len(set.union(*runs)) == 1


@pytest.mark.parametrize(
    ("size", "n_bytes", "where", "schedule"),
    [
        (2, 1 << 28, {"links": "shm"}, "one-shot"),
        (2, 1 << 28, {}, "two-shot"),
        (4, 8, {}, "one-shot"),
        (4, 8, {"crowded": True}, "recursive-doubling"),
        (4, 8, {"crowded": True, "rounds": True}, "one-shot"),
        (4, 1 << 20, {"crowded": True}, "rabenseifner"),
        (8, 32 * KIB, {"links": "shm", "crowded": True}, "recursive-doubling"),
        (4, 1 << 20, {"links": "mixed", "nodes": [0, 0, 1, 1]}, "two-level"),
        (4, 1 << 20, {"links": "mixed", "nodes": [0, 0, 0, 1]}, "two-shot"),
    ],
)
def test_the_built_in_table_knows_where_the_ranks_are(
    size: int, n_bytes: int, where: dict[str, Any], schedule: str
) -> None:
    assert chosen(ALL_SUM, size, n_bytes // 4, n_bytes_per_element=4, **where) == schedule


def test_small_blocks_of_many_ranks_go_together_where_messages_count() -> None:
    found = [
        chosen(ALL_TO_ALL, size, count, crowded=crowded)
        for size, count, crowded in [
            (8, 64, True),
            (16, 1, True),
            (8, 65, True),
            (7, 64, True),
            (8, 64, False),
        ]
    ]

    assert found == ["bruck", "bruck", "direct", "direct", "direct"]


def test_blocks_that_go_together_arrive(threads: Callable[..., list[Any]]) -> None:
    def program(group: Any) -> Any:
        x = group.rank * 100 + np.arange(group.size * 3, dtype=np.int64)
        out = np.empty_like(x)
        group.all_to_all(x, out, 3, INT64)
        return out.reshape(-1, 3)

    n = 5
    for rank, out in enumerate(threads(n, program, schedules="all_to_all=bruck")):
        assert (out == np.arange(n)[:, None] * 100 + rank * 3 + np.arange(3)).all()
