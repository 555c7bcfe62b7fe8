from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobkit.cli import sending
from jobkit.errors import SpecError
from jobkit.jobs import cancel, find, record, watch
from jobkit.jobs.record import Record


@pytest.fixture
def submit(machine, tree: Path, jobkit_home: Path) -> Callable[..., str]:
    """Submit a detached job to one host, which is this machine; return its id."""

    def run(*lines: str, job_id: str | None = None) -> str:
        head = f"executor: ssh\nbackend: none\nssh: {{hosts: [h1], detach: true, python: {sys.executable}}}\n"
        wish = sending.Wish("a.yaml", "\n".join((head, *lines, "")), str(tree))
        environ = dict(os.environ)
        prepared = sending.prepared(wish, sending.planned(wish, environ), job_id, environ)
        sending.send(wish, prepared, environ)
        return prepared.job_id

    return run


def ended(job: str) -> Record:
    return watch.until_ended([find.one(job, os.environ)], deadline_s=120.0)[0]


def test_a_job_goes_on_there_and_is_told_here(submit: Callable[..., str], tree: Path, machine) -> None:
    (tree / "file").write_text("of the tree")
    job = submit("run: [sh, -c, 'cat file; exit 3']")
    known = ended(job)
    assert (known.state, known.executor) == ("failed", "ssh")
    assert known.exit is not None
    assert known.exit.status == 3
    assert known.keeper is not None
    found = find.one(job, os.environ)
    assert (found.folder / "attempt-1" / "rank-0.out").read_text() == "of the tree"
    assert record.read(found.folder).state == "failed"


def test_it_is_cancelled_there(submit: Callable[..., str], wait) -> None:
    job = submit("run: sleep 600")
    found = find.one(job, os.environ)
    assert wait(lambda: watch.look(found).state == "running")
    cancel.request(found)
    assert ended(job).state == "cancelled"


def test_an_id_that_is_taken_there_is_refused(submit: Callable[..., str], machine, jobkit_home: Path) -> None:
    submit("run: 'true'", job_id="a")
    ended("a")
    (jobkit_home / "jobs" / "a").rename(jobkit_home / "jobs" / "b")
    with pytest.raises(SpecError, match="a job of this id exists"):
        submit("run: 'true'", job_id="a")
    assert not (jobkit_home / "jobs" / "a").exists()
