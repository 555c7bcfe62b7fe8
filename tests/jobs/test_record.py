from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobkit.jobs import files, record
from jobkit.jobs.record import JobExit, RankRecord, Record, TaskRecord

Make = Callable[..., Record]
T1, T2, T3 = (f"2026-11-22T10:15:3{i}.000000Z" for i in (1, 2, 3))


def test_a_record_survives_its_text(make_record: Make) -> None:
    known = make_record()
    task = replace(
        known.tasks[0],
        state="failed",
        exit=JobExit(137, 1, "h", "SIGKILL", "killed by signal 9 (SIGKILL)"),
        ranks=(RankRecord(0, "h", 7, 0, None, False, T1, T2),),
        agent=known.origin.submitter,
    )
    known = replace(known, tasks=(task,), keeper=known.origin.submitter)
    assert record.loads(record.dumps(known).encode()) == known


def test_the_text_names_its_schema_and_says_class_for_the_kind_of_exit(make_record: Make) -> None:
    raw = json.loads(record.dumps(make_record(exit=JobExit(7, kind="exit 7"))))
    assert raw["schema"] == 1
    assert raw["exit"]["class"] == "exit 7"
    assert raw["attempt"] == 0


def test_a_record_on_disk_is_private(make_record: Make, tmp_path: Path) -> None:
    assert record.write(tmp_path, make_record())
    assert (tmp_path / "record.json").stat().st_mode & 0o777 == 0o600
    assert record.read(tmp_path) == make_record()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema": 2}', '{"schema": 1}', "null", '"\xff"', "[" * 100_000]
)
def test_what_is_no_record_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(text, encoding="latin-1")
    with pytest.raises(record.UnreadableError, match="not a record of a job"):
        record.read(tmp_path)


def test_a_record_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(record.UnreadableError, match="No such file"):
        record.read(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of one megabyte."""
    import subprocess

    disk = tmp_path / "disk"
    disk.mkdir()
    if os.getuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("this machine does not let root mount a tmpfs")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"), (disk / "filling").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_the_last_record_fits_on_a_full_disk(small_disk: Path, make_record: Make) -> None:
    files.take_ballast(small_disk)
    assert record.write(small_disk, make_record())
    fill(small_disk)
    assert not record.write(small_disk, make_record(state="running"))
    assert record.read(small_disk).state == "submitting"
    assert record.write(small_disk, make_record(state="failed"), last=True)
    assert record.read(small_disk).state == "failed"
    assert not (small_disk / "ballast").exists()


def sweep(make_record: Make, *tasks: TaskRecord) -> Record:
    return record.settled(make_record(tasks=tasks))


def point(name: str, state: str, **changes: object) -> TaskRecord:
    return TaskRecord(name, {"lr": "0.1"}, state, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("queued", "queued"), "queued"),
        (("running", "queued"), "running"),
        (("starting", "queued"), "starting"),
        (("succeeded", "queued"), "running"),
        (("succeeded", "running"), "running"),
        (("failed", "requeued"), "requeued"),
        (("submitting", "submitting"), "submitting"),
        (("succeeded", "succeeded"), "succeeded"),
    ],
)
def test_the_state_of_a_sweep_is_that_of_its_liveliest_point(
    states: tuple[str, ...], expected: str, make_record: Make
) -> None:
    assert sweep(make_record, *(point(str(i), state) for i, state in enumerate(states))).state == expected


def test_the_exit_of_a_sweep_is_that_of_the_point_that_failed_first_in_time(make_record: Make) -> None:
    known = sweep(
        make_record,
        point("0", "failed", exit=JobExit(3, kind="exit 3"), started=T1, ended=T2, failed=T2),
        point("1", "failed", exit=JobExit(7, kind="exit 7"), started=T1, ended=T3, failed=T1),
        point("2", "succeeded", exit=JobExit(0), started=T1, ended=T1),
    )
    assert known.exit is not None
    assert known.exit.status == 7
    assert (known.state, known.reason, known.started, known.ended) == ("failed", "point 1", T1, T3)


def test_a_job_has_the_shape_that_programs_rely_on(make_record: Make) -> None:
    shown = record.status_json(record.settled(make_record()))
    assert list(shown) == [
        "id", "name", "executor", "scheduler_id", "state", "reason", "attempt", "exit", "ranks", "tasks",
        "created", "started", "ended",
    ]  # fmt: skip
    assert shown["exit"] is None
    assert shown["tasks"] == []
    assert [rank["rank"] for rank in shown["ranks"]] == [0, 1]
    assert list(record.unreadable_json("x", "why")) != []
    assert set(record.unreadable_json("x", "why")) == set(shown)


def test_an_exit_has_the_shape_that_programs_rely_on() -> None:
    assert record.exit_json(JobExit(7, 1, "h", None, "exit 7")) == {
        "status": 7,
        "rank": 1,
        "host": "h",
        "signal": None,
        "class": "exit 7",
    }


def test_one_point_can_be_shown_as_a_job(make_record: Make) -> None:
    known = sweep(make_record, point("0", "succeeded", exit=JobExit(0), ended=T1), point("1", "running"))
    alone = record.status_json(record.narrowed(known, "0"))
    assert (alone["id"], alone["state"], alone["tasks"]) == (f"{known.id}/0", "succeeded", [])
    assert alone["scheduler_id"] is None
    in_array = record.narrowed(replace(known, scheduler_id="12"), "0")
    assert in_array.scheduler_id == "12_0"
    with pytest.raises(KeyError):
        record.narrowed(known, "2")
