from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from jobkit.errors import SpecError, SubmitError
from jobkit.jobs import process, record
from jobkit.jobs.record import JobExit, Origin, RankRecord, Record, TaskRecord
from jobkit.slurm import dependency, queue

AT = "2026-11-22T10:00:00.000000Z"


@pytest.fixture
def job(jobkit_home: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """A job of Slurm's with number 7, which waits."""
    monkeypatch.setattr(
        queue, "every", lambda _, **__: {"7": queue.Seen("7", "PENDING", None, "", "jobkit:a")}
    )
    me = process.identify(os.getpid())
    assert me is not None
    origin = Origin((), "/", "a.yaml", None, None, (), (), "0", None, me)
    known = Record("a", "a", "slurm", "queued", AT, (TaskRecord(None, ranks=(RankRecord(0),)),), origin, "7")
    return written(jobkit_home, known)


def written(home: Path, known: Record) -> Record:
    (home / "jobs" / "a").mkdir(parents=True, exist_ok=True)
    record.write(home / "jobs" / "a", known)
    return known


def test_a_job_that_has_not_ended_is_waited_for(job: Record) -> None:
    assert dependency.numbers(["a"], os.environ) == ("7",)


def test_one_that_has_succeeded_needs_no_waiting(job: Record, jobkit_home: Path) -> None:
    written(jobkit_home, replace(job, state="succeeded", exit=JobExit(0)))
    assert dependency.numbers(["a"], os.environ) == ()


def test_one_that_has_failed_is_refused(job: Record, jobkit_home: Path) -> None:
    written(jobkit_home, replace(job, state="failed", exit=JobExit(1)))
    with pytest.raises(SubmitError, match="after: a has ended as failed"):
        dependency.numbers(["a"], os.environ)


def test_one_of_another_executor_is_refused(job: Record, jobkit_home: Path) -> None:
    from jobkit.jobs import folder

    written(jobkit_home, replace(job, executor="local", scheduler_id=None))
    lock = folder.hold(jobkit_home / "jobs" / "a")
    try:
        with pytest.raises(SubmitError, match="a has no number in Slurm"):
            dependency.numbers(["a"], os.environ)
    finally:
        os.close(lock)


def test_one_that_does_not_exist_is_refused(job: Record) -> None:
    with pytest.raises(SpecError, match="no such job"):
        dependency.numbers(["b"], os.environ)
