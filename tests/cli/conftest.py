"""Fixtures for tests of verbs: a folder and a home, the command line in this process and in another."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobkit.cli import main
from jobkit.env import presence
from jobkit.env.translate import Identity
from jobkit.jobs import cancel, find, record, truth
from jobkit.jobs.record import ENDED

DEADLINE_S = 60.0


@dataclass(frozen=True)
class Done:
    """What a command line did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


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
def work(tmp_path: Path, jobkit_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of the test; at the end no job of its home may be left running."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    for found in find.every(os.environ):
        with contextlib.suppress(Exception):
            cancel.request(found)
    deadline = time.monotonic() + DEADLINE_S
    while any(_runs(found) for found in find.every(os.environ)):
        assert time.monotonic() < deadline, "a job of the test did not end"
        time.sleep(0.05)


def _runs(found: find.Found) -> bool:
    try:
        return truth.look(found.folder).state not in ENDED
    except record.UnreadableError:
        return False


@pytest.fixture
def jobkit(work: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run the command line in this process."""

    def run(*words: str) -> Done:
        capfd.readouterr()
        status = main(list(words))
        return Done(status, *capfd.readouterr())

    return run


@pytest.fixture
def started(work: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command line as a process of its own; it is ended with the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(*words: str, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "jobkit", *words]
        one = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
        processes.append(one)
        return one

    yield start
    for one in processes:
        if one.poll() is None:
            one.send_signal(signal.SIGKILL)
        one.communicate()


@pytest.fixture
def spec(work: Path) -> Callable[..., str]:
    """Write a spec; return its name."""

    def write(text: str, name: str = "a.yaml") -> str:
        (work / name).write_text(text)
        return name

    return write


@pytest.fixture
def foreign(work: Path, jobkit_home: Path) -> Iterator[str]:
    """A job that another launcher started, whose rank 0 runs."""
    identity = Identity("openmpi-7", 1, str(jobkit_home / "jobs" / "openmpi-7"), "rank-0.gang")
    place = presence.take(identity, 0)
    yield identity.job
    os.close(place)
