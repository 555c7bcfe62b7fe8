from __future__ import annotations

from dataclasses import replace

import pytest

from jobkit.env.record import RankExit
from jobkit.jobs import exits
from jobkit.jobs.record import JobExit, TaskRecord


@pytest.mark.parametrize(
    ("status", "signal", "expected"),
    [
        (0, None, "exit 0"),
        (7, None, "exit 7"),
        (137, "SIGKILL", "killed by signal 9 (SIGKILL)"),
        (139, "SIGSEGV", "killed by signal 11 (SIGSEGV)"),
        (137, None, "exit 137"),
    ],
)
def test_an_exit_is_told_in_words(status: int, signal: str | None, expected: str) -> None:
    assert exits.kind(status, signal) == expected


def test_a_program_that_never_ran_has_its_own_words() -> None:
    kinds = [exits.unstarted(status, None, None).kind for status in (125, 126, 127)]
    assert kinds == ["could not start", "not executable", "not found"]


def test_the_rank_that_failed_first_gives_the_jobs_exit() -> None:
    first = RankExit(1, "h", 127, None, False, None, "not started", "", "2026-11-22T10:15:31Z", 0)
    assert exits.of_rank(first) == JobExit(127, 1, "h", None, "not found")
    killed = replace(first, status=137, signal="SIGKILL", reason="signal")
    assert exits.of_rank(killed) == JobExit(137, 1, "h", "SIGKILL", "killed by signal 9 (SIGKILL)")


def test_a_sentence_names_the_rank_and_its_host_where_there_is_one() -> None:
    assert exits.told(JobExit(7, 1, "h", None, "exit 7")) == "rank 1 on h: exit 7"
    assert exits.told(exits.TIME_LIMIT) == "time limit"


def test_statuses_are_those_of_the_contract() -> None:
    statuses = [
        e.status for e in (exits.SUCCESS, exits.LOST, exits.NOT_STARTED, exits.TIME_LIMIT, exits.CANCELLED)
    ]
    assert statuses == [0, 125, 125, 124, 143]


@pytest.mark.parametrize(
    ("reason", "exit_", "expected"),
    [
        (None, JobExit(7, 1, "h", None, "exit 7"), "rank 1 on h: exit 7"),
        ("rank 1 on h: exit 7", JobExit(7, 1, "h", None, "exit 7"), "rank 1 on h: exit 7"),
        ("setup: line 2 failed", exits.NOT_STARTED, "could not start: setup: line 2 failed"),
        ("its time limit of 1s was reached", exits.TIME_LIMIT, "its time limit of 1s was reached"),
        ("its keeper was killed", exits.LOST, "lost: its keeper was killed"),
        ("cancelled by its user", exits.CANCELLED, "cancelled by its user"),
        ("no such thing", None, "failed: no such thing"),
    ],
)
def test_a_failure_is_explained_once(reason: str | None, exit_: JobExit | None, expected: str) -> None:
    assert exits.explained(TaskRecord(None, state="failed", reason=reason, exit=exit_)) == expected
