"""What failed said last."""

from __future__ import annotations

from pathlib import Path

from jobkit.jobs.last_words import LastWords, last_words
from jobkit.jobs.record import FAILED, SUCCEEDED, JobExit, TaskRecord


def failed(exit_: JobExit, state: str = FAILED, point: str | None = None) -> TaskRecord:
    return TaskRecord(point, state=state, attempt=1, exit=exit_)


def test_a_rank_has_them_in_its_standard_error(tmp_path: Path) -> None:
    (tmp_path / "2" / "attempt-1").mkdir(parents=True)
    (tmp_path / "2" / "attempt-1" / "rank-3.err").write_text("first\nlast\n")
    task = failed(JobExit(7, 3), point="2")
    assert last_words(tmp_path, task) == LastWords("standard error of rank 3", ("first", "last"))


def test_where_no_rank_ran_they_are_those_of_the_script(tmp_path: Path) -> None:
    (tmp_path / "slurm-12.log").write_text("/no/such/python: No such file or directory\n")
    expected = LastWords("slurm-12.log", ("/no/such/python: No such file or directory",))
    assert last_words(tmp_path, failed(JobExit(127))) == expected


def test_a_success_has_none_and_a_silent_failure_neither(tmp_path: Path) -> None:
    (tmp_path / "slurm-12.log").write_text("words\n")
    assert last_words(tmp_path, failed(JobExit(0), SUCCEEDED)) is None
    assert last_words(tmp_path, failed(JobExit(7, 0))) is None
