from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jobkit.jobs import clock, find, folder, record, removal, truth
from jobkit.jobs.find import Found
from jobkit.jobs.record import Record, TaskRecord

Make = Callable[..., Record]


def put(home: Path, known: Record) -> Found:
    (home / "jobs" / known.id).mkdir(parents=True)
    record.write(home / "jobs" / known.id, known)
    return find.one(known.id, {"JOBKIT_HOME": str(home)})


def ended_at(make_record: Make, moment: str | None) -> Record:
    return make_record(state="failed", ended=moment, tasks=(TaskRecord(None, state="failed"),))


def test_a_job_is_due_when_it_ended_long_enough_ago(tmp_path: Path, make_record: Make) -> None:
    found = put(tmp_path, ended_at(make_record, "2020-01-01T00:00:00Z"))
    assert removal.is_due(found, 3600.0)
    assert removal.is_due(found, None)


def test_a_job_that_ended_just_now_is_not_due_but_for_all(tmp_path: Path, make_record: Make) -> None:
    found = put(tmp_path, ended_at(make_record, clock.rfc3339(clock.now())))
    assert not removal.is_due(found, 3600.0)
    assert removal.is_due(found, None)


@pytest.mark.parametrize("age_s", [None, 0.0])
def test_a_job_that_runs_is_never_due(age_s: float | None, tmp_path: Path, make_record: Make) -> None:
    found = put(tmp_path, make_record(state="running"))
    lock = folder.hold(found.folder)
    assert not removal.is_due(found, age_s)
    os.close(lock)


def test_a_lost_job_is_as_old_as_its_record(tmp_path: Path, make_record: Make) -> None:
    found = put(tmp_path, make_record(state="running"))
    assert not removal.is_due(found, 3600.0)
    os.utime(found.folder / "record.json", (1, 1))
    assert removal.is_due(found, 3600.0)


def test_what_its_scheduler_does_not_know_is_not_due_while_something_is_written(
    tmp_path: Path, make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = put(tmp_path, make_record(state="running", executor="slurm", scheduler_id="7"))
    output = found.folder / "attempt-1" / "rank-0.out"
    output.parent.mkdir()
    output.touch()
    monkeypatch.setattr(truth, "look", lambda *_, **__: make_record(state="lost", scheduler_id="7"))
    for path in (*found.folder.rglob("*"), found.folder):
        if path != output:
            os.utime(path, (1, 1))
    assert not removal.is_due(found, None)
    os.utime(output, (1, 1))
    assert removal.is_due(found, None)


def test_an_unreadable_job_is_due_when_nobody_holds_it(tmp_path: Path, make_record: Make) -> None:
    found = put(tmp_path, make_record())
    (found.folder / "record.json").write_text("{")
    lock = folder.hold(found.folder)
    assert not removal.is_due(found, None)
    os.close(lock)
    assert removal.is_due(found, None)


def test_a_job_elsewhere_goes_with_its_link(tmp_path: Path, make_record: Make) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    record.write(tmp_path / "runs" / "a", ended_at(make_record, None))
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "a").symlink_to(tmp_path / "runs" / "a")
    removal.remove(find.one("a", {"JOBKIT_HOME": str(tmp_path)}))
    assert not list((tmp_path / "runs").iterdir())
    assert not list((tmp_path / "jobs").iterdir())


def test_a_link_to_nothing_goes_too(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "a").symlink_to(tmp_path / "nowhere")
    found = find.one("a", {"JOBKIT_HOME": str(tmp_path)})
    assert removal.is_due(found, None)
    removal.remove(found)
    assert not list((tmp_path / "jobs").iterdir())


def test_what_killed_submissions_left_is_removed_also_elsewhere(tmp_path: Path, make_record: Make) -> None:
    put(tmp_path, make_record())
    (tmp_path / "runs" / "far").mkdir(parents=True)
    (tmp_path / "jobs" / "far").symlink_to(tmp_path / "runs" / "far")
    left = [folder.stage(tmp_path / "jobs" / "b"), folder.stage(tmp_path / "runs" / "c")]
    removal.remove_leftovers({"JOBKIT_HOME": str(tmp_path)})
    assert not any(path.exists() for path in left)
