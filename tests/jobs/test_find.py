from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobkit.errors import SpecError, SubmitError
from jobkit.jobs import find, record
from jobkit.jobs.record import Record, TaskRecord

AROUND = dict[str, str]


@pytest.fixture
def around(tmp_path: Path, make_record: Callable[..., Record]) -> AROUND:
    """An environment whose home has four jobs: two of Slurm, a sweep, and one that cannot be read."""
    environ = {"JOBKIT_HOME": str(tmp_path)}
    points = (TaskRecord("0"), TaskRecord("1"))
    jobs = [
        make_record(id="20261122-a", executor="slurm", scheduler_id="12345", created="2026-11-22T10:00:00Z"),
        make_record(id="20261122-ab", executor="slurm", scheduler_id="123", created="2026-11-22T12:00:00Z"),
        make_record(id="sweep", created="2026-11-22T11:00:00Z", tasks=points),
    ]
    for job in jobs:
        (tmp_path / "jobs" / job.id).mkdir(parents=True)
        record.write(tmp_path / "jobs" / job.id, job)
    (tmp_path / "jobs" / "broken").mkdir()
    (tmp_path / "jobs" / ".hidden.new").mkdir()
    return environ


def test_all_jobs_are_found_and_nothing_that_is_hidden(around: AROUND) -> None:
    assert [found.id for found in find.every(around)] == ["20261122-a", "20261122-ab", "broken", "sweep"]


def test_a_file_among_the_jobs_is_not_a_job(around: AROUND, tmp_path: Path) -> None:
    (tmp_path / "jobs" / "notes.txt").touch()
    (tmp_path / "jobs" / "dangling").symlink_to(tmp_path / "gone")

    assert "notes.txt" not in [found.id for found in find.every(around)]
    assert "dangling" in [found.id for found in find.every(around)]  # its run folder was removed


def test_a_home_that_is_not_there_has_no_jobs(tmp_path: Path) -> None:
    assert find.every({"JOBKIT_HOME": str(tmp_path / "nowhere")}) == []


@pytest.mark.parametrize(
    ("job", "expected", "point"),
    [
        ("20261122-a", "20261122-a", None),  # also the beginning of another one
        ("20261122-ab", "20261122-ab", None),
        ("sw", "sweep", None),
        ("sweep/1", "sweep", "1"),
        ("sw/0", "sweep", "0"),
        ("last", "20261122-ab", None),
        ("slurm:12345", "20261122-a", None),
    ],
)
def test_a_job_is_found_by(
    job: str, expected: str, point: str | None, around: AROUND, tmp_path: Path
) -> None:
    found = find.one(job, around)
    assert (found.id, found.point) == (expected, point)
    assert found.folder == tmp_path / "jobs" / expected


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("nothing", "no such job"),
        ("", "no such job"),
        ("slurm:1", "no such job"),
        ("2026", "the beginning of several ids, got '2026', expected one of 20261122-a, 20261122-ab"),
        ("sweep/2", "no such point, got 'sweep/2', expected one of 0, 1"),
        ("20261122-a/0", "it is not a sweep"),
        ("sweep/", "no such point"),
        ("broken/0", "record.json"),
        ("../jobs/sweep", "no such job"),
    ],
)
def test_what_names_no_job_is_refused(job: str, message: str, around: AROUND) -> None:
    with pytest.raises(SpecError) as caught:
        find.one(job, around)
    assert message in str(caught.value)


def test_a_job_that_lies_elsewhere_is_found_through_its_link(around: AROUND, tmp_path: Path) -> None:
    (tmp_path / "runs" / "far").mkdir(parents=True)
    (tmp_path / "jobs" / "far").symlink_to(tmp_path / "runs" / "far")
    found = find.one("far", around)
    assert (found.folder, found.link) == (tmp_path / "runs" / "far", tmp_path / "jobs" / "far")


def test_a_home_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("in the way")
    with pytest.raises(SubmitError, match="cannot be read: Not a directory"):
        find.every({"JOBKIT_HOME": str(tmp_path)})


def test_no_jobs_have_no_last_one(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such job, got 'last'"):
        find.one("last", {"JOBKIT_HOME": str(tmp_path)})


def test_a_point_is_the_same_job(around: AROUND) -> None:
    whole = find.one("sweep", around)
    assert find.one("sweep/1", around) == replace(whole, point="1")


def test_a_job_of_another_launcher_is_found_like_any(around: AROUND, tmp_path: Path) -> None:
    (tmp_path / "jobs" / "openmpi-7" / "attempt-1" / "rank-0.gang").mkdir(parents=True)
    assert find.one("last", around).id == "openmpi-7"
    with pytest.raises(SpecError, match="expected the id alone: it is not a sweep"):
        find.one("openmpi-7/0", around)
