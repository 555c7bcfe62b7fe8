from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jobkit.env import presence
from jobkit.env.record import RankExit, write_exit
from jobkit.env.translate import Identity
from jobkit.jobs import foreign, removal, truth
from jobkit.jobs.find import Found

GOOD = RankExit(
    0, "n1", 0, None, False, None, "exit", "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:02.000Z", 5
)
BAD = dataclasses.replace(GOOD, rank=1, status=7, order=3)
ENDED = dataclasses.replace(GOOD, rank=2, status=143, signal="SIGTERM", ended_by_jobkit=True)


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    folder = tmp_path / "slurm-44.0" / "attempt-2"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("known", "state", "status"),
    [([], "running", None), ([GOOD], "succeeded", 0), ([GOOD, BAD, ENDED], "failed", 7)],
)
def test_a_job_of_another_launcher_is_told_from_its_ranks(
    attempt: Path, known: list[RankExit], state: str, status: int | None
) -> None:
    for ended in known:
        write_exit(attempt, ended)
    job = truth.look(attempt.parent)
    assert (job.id, job.executor, job.state, job.attempt) == ("slurm-44.0", "foreign", state, 2)
    assert (job.exit.status if job.exit else None) == status
    assert [rank.status for rank in job.tasks[0].ranks] == [ended.status for ended in known]


def test_a_rank_that_has_not_ended_has_files_still(attempt: Path) -> None:
    write_exit(attempt, GOOD)
    (attempt / "rank-1.gang").mkdir()
    assert truth.look(attempt.parent).state == "running"


@pytest.mark.parametrize("known", [[], [GOOD], [GOOD, BAD]])
def test_a_job_runs_as_long_as_a_rank_holds_its_place(attempt: Path, known: list[RankExit]) -> None:
    for ended in known:
        write_exit(attempt, ended)
    place = presence.take(Identity("slurm-44.0", 2, str(attempt.parent), "rank-3.gang"), 3)
    assert truth.look(attempt.parent).state == "running"
    found = Found("slurm-44.0", attempt.parent)
    assert not removal.is_due(found, None)
    os.close(place)
    assert truth.look(attempt.parent).state == ("failed" if BAD in known else "lost")
    assert removal.is_due(found, None)


@pytest.mark.parametrize("make", [lambda p: (p / "spec.yaml").touch(), lambda p: (p / "attempt-x").mkdir()])
def test_any_other_folder_is_none_of_them(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)
    assert foreign.look(tmp_path) is None
