"""The table of schedules that a new group measures, and remembers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jobkit.native import _core

Threads = Callable[..., list[Any]]
ALL_SUM, FLOAT32 = 0, 11
TREE_ORDER = ["one-shot", "two-shot", "recursive-doubling", "rabenseifner"]


class Kept:
    """What a rank was asked for and given to keep.

    Attributes:
        asked: The conditions of every question.
        tables: The tables by conditions.
    """

    def __init__(self, **tables: str) -> None:
        self.asked: list[str] = []
        self.tables = tables

    def recall(self, conditions: str) -> str | None:
        self.asked.append(conditions)
        return self.tables.get(conditions, self.tables.get("always"))

    def keep(self, conditions: str, table: str) -> None:
        self.tables[conditions] = table

    def options(self) -> dict[str, Any]:
        return {"recall": self.recall, "keep": self.keep}


@pytest.fixture(autouse=True)
def _two_processors_at_least() -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor: two ranks measure nothing")


def schedules(group: Any) -> str:
    return str(group.topology()["schedules"])


@pytest.mark.parametrize(("shared_memory", "links"), [(True, "shm"), (False, "tcp")])
def test_rank_0_keeps_what_all_ranks_measured(threads: Threads, shared_memory: bool, links: str) -> None:
    kept = [Kept(), Kept()]
    tables = threads(2, schedules, each=[each.options() for each in kept], shared_memory=shared_memory)

    ((conditions, table),) = kept[0].tables.items()
    assert f"2 ranks on 1 hosts, {links}, " in conditions
    assert tables == [table] * 2
    assert _core.schedule_table(table) == table
    assert not [row for row in table.split(",") if row and row.split("=")[1] not in TREE_ORDER]
    assert (kept[1].asked, kept[1].tables) == ([], {})


def test_what_is_known_is_not_measured_again(threads: Threads) -> None:
    table = "all_sum@2:4096=two-shot,all_sum@2:8192-16384=rabenseifner"
    kept = Kept(always=table)

    assert threads(2, schedules, each=[kept.options(), {}]) == [table] * 2
    assert kept.tables == {"always": table}


@pytest.mark.parametrize(
    "table",
    ["nonsense", "all_sum@2:64=ring", "all_sum@3:64=one-shot", "all_sum@2=two-shot", "barrier@2:64=direct"],
)
def test_what_no_measurement_gives_is_not_believed(threads: Threads, table: str) -> None:
    kept = Kept(always=table)

    for used in threads(2, schedules, each=[kept.options(), {}]):
        assert used != table
    assert len(kept.asked) == 1


def test_more_ranks_than_processors_measure_nothing(threads: Threads) -> None:
    n = len(os.sched_getaffinity(0)) + 1
    kept = Kept()
    if n > 9:
        pytest.skip(f"{n} ranks are too many for a test")

    assert threads(n, schedules, each=[kept.options()] * n) == [""] * n
    assert (kept.asked, kept.tables) == ([], {})


def test_a_table_that_is_wanted_is_not_measured(threads: Threads) -> None:
    kept = Kept()
    options = kept.options() | {"schedules": "all_sum=ring"}

    assert threads(2, schedules, each=[options] * 2) == ["all_sum=ring"] * 2
    assert (kept.asked, kept.tables) == ([], {})


def test_the_programs_calls_are_counted_from_one_after_measuring(threads: Threads) -> None:
    def program(group: Any) -> None:
        n = 3 + group.rank
        group.all_reduce(ALL_SUM, np.ones(n, np.float32), np.empty(n, np.float32), n, FLOAT32)

    for error in threads(2, program, each=[Kept().options(), {}], check=False):
        assert "all_sum #1: calls differ" in str(error)


def failing(*_: str) -> None:
    raise RuntimeError("no memory")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_memory_that_fails_is_none(threads: Threads) -> None:
    options = {"recall": failing, "keep": failing}

    tables = threads(2, schedules, each=[options] * 2)

    assert tables[0] == tables[1]


def die(conditions: str) -> None:
    os._exit(1)


def program(group: Any, pipe: Any) -> str:
    return "never"


def test_a_rank_that_is_lost_before_the_table_is_agreed_on_is_named(processes: Callable[..., Any]) -> None:
    ranks = processes(2, program, recall=die, keep=failing)

    error, text, culprit = ranks.receive(1)

    assert (error, culprit) == ("Error", 0)
    assert "rank 0" in text
