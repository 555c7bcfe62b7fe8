from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobkit.errors import SubmitError
from jobkit.jobs import folder, record, watch
from jobkit.jobs.find import Found
from jobkit.jobs.record import JobExit, Record, TaskRecord

Make = Callable[..., Record]


def with_state(make_record: Make, state: str, **changes: object) -> Record:
    return make_record(state=state, tasks=(TaskRecord(None, state=state),), **changes)


def test_changes_are_told_once_each_until_the_end(tmp_path: Path, make_record: Make) -> None:
    lock = folder.hold(tmp_path)
    found = Found("a", tmp_path)
    states = ["queued", "running", "succeeded"]
    record.write(tmp_path, with_state(make_record, states[0]))
    told: list[str] = []

    def note(known: Record) -> None:
        told.append(known.state)
        if known.state != states[-1]:
            following = states[states.index(known.state) + 1]
            threading.Timer(0.05, lambda: record.write(tmp_path, with_state(make_record, following))).start()

    (last,) = watch.until_ended([found], on_change=note)
    os.close(lock)
    assert told == states
    assert last.state == "succeeded"


def test_watching_stops_at_its_deadline(tmp_path: Path, make_record: Make) -> None:
    lock = folder.hold(tmp_path)
    record.write(tmp_path, with_state(make_record, "running"))
    (last,) = watch.until_ended([Found("a", tmp_path)], deadline_s=0.0)
    os.close(lock)
    assert last.state == "running"


def test_a_record_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(SubmitError, match="job a: "):
        watch.look(Found("a", tmp_path))


def test_one_point_is_watched_alone(tmp_path: Path, make_record: Make) -> None:
    points = (TaskRecord("0", state="succeeded", exit=JobExit(0)), TaskRecord("1", state="failed"))
    record.write(tmp_path, record.settled(make_record(tasks=points)))
    assert watch.look(Found("a", tmp_path, "0")).state == "succeeded"
    assert watch.look(Found("a", tmp_path)).state == "failed"


def failed(make_record: Make, status: int, at: str) -> Record:
    task = TaskRecord(None, state="failed", exit=JobExit(status), ended="2026-11-22T10:20:00Z", failed=at)
    return record.settled(make_record(tasks=(task,)))


def test_the_status_of_several_jobs_is_that_of_the_one_that_failed_first(make_record: Make) -> None:
    good = replace(make_record(), state="succeeded", exit=JobExit(0))
    late = failed(make_record, 3, "2026-11-22T10:17:00Z")
    early = failed(make_record, 7, "2026-11-22T10:16:00Z")
    assert watch.exit_status([good, late, early]) == 7
    assert watch.exit_status([good]) == 0
    assert watch.first_failure([good]) is None
