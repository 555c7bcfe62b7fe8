"""Fixtures for tests of jobs: made-up records, and real jobs submitted by this process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobkit.jobs import process, truth
from jobkit.jobs.find import Found
from jobkit.jobs.record import ENDED, Origin, RankRecord, Record, TaskRecord

DEADLINE_S = 60.0


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait until something is so, up to a generous limit."""

    def wait(is_so: Callable[[], object], what: str = "the condition") -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not is_so():
            assert time.monotonic() < deadline, f"{what} did not come about"
            time.sleep(0.02)

    return wait


@pytest.fixture
def origin() -> Origin:
    """An origin whose submitter is this process."""
    me = process.identify(os.getpid())
    assert me is not None
    return Origin(("jobkit", "submit", "a.yaml"), "/project", "a.yaml", None, None, (), (), "0.1.0", None, me)


@pytest.fixture
def make_record(origin: Origin) -> Callable[..., Record]:
    """Return what makes a record of two ranks, with changes."""

    def make(**changes: object) -> Record:
        ranks = (RankRecord(0), RankRecord(1))
        values: dict[str, object] = {
            "id": "20261122-101530-digits-c0de",
            "name": "digits",
            "executor": "local",
            "state": "submitting",
            "created": "2026-11-22T10:15:30.000000Z",
            "tasks": (TaskRecord(None, ranks=ranks),),
            "origin": origin,
        }
        return Record(**{**values, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def start(jobkit_home: Path, tmp_path: Path, until: Callable[..., None]) -> Iterator[Callable[..., Found]]:
    """Return what submits a spec from this process; at the end nothing of the jobs may be left."""
    from jobkit.cli import sending
    from jobkit.jobs import cancel

    jobs: list[Found] = []

    def submit(text: str, job_id: str | None = None, **environ: str) -> Found:
        wish = sending.Wish("a.yaml", text, str(tmp_path))
        around = {**os.environ, **environ}
        submission = sending.prepared(wish, sending.planned(wish, around), job_id, around)
        sending.send(wish, submission, around)
        jobs.append(sending.announced(submission))
        return jobs[-1]

    yield submit
    for found in jobs:
        if found.folder.exists():
            cancel.request(found)
            until(lambda found=found: truth.look(found.folder).state in ENDED, f"the end of {found.id}")


@pytest.fixture
def ended(until: Callable[..., None]) -> Callable[[Found], Record]:
    """Return what waits for a job's end and returns its record."""

    def wait(found: Found) -> Record:
        until(lambda: truth.look(found.folder).state in ENDED, f"the end of {found.id}")
        return truth.look(found.folder)

    return wait
