"""Fixtures that every folder of tests shares."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
DEADLINE_S = 60.0

# Five processes a rank: itself, a child, a grandchild deaf to TERM, one in a session of its own, and an
# orphan of it with neither the job's sessions nor its environment.
FAMILY = """
import os, signal, subprocess, sys, time
def note():
    open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
def stay():
    note()
    time.sleep(600)
def start(role, **how):
    return subprocess.Popen([sys.executable, __file__, sys.argv[1], role], **how)
role = sys.argv[2]
if role == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
elif role == "rank":
    start("child")
    start("setsid", start_new_session=True)
elif role == "child":
    start("deaf")
elif role == "setsid":
    start("orphan maker", start_new_session=True)
elif role == "orphan maker":
    start("orphan", start_new_session=True, env={})
    sys.exit()
stay()
"""
FAMILY_SIZE = 5


@dataclasses.dataclass(frozen=True)
class Family:
    """A program whose every rank starts FAMILY_SIZE processes, and what is known of them."""

    command: tuple[str, ...]
    folder: Path

    def pids(self) -> list[int]:
        """Return every process that has ever stood up."""
        return [int(path.name) for path in self.folder.iterdir()]

    def alive(self) -> list[int]:
        """Return those that still run."""
        return [pid for pid in self.pids() if is_alive(pid)]


@pytest.fixture
def repository() -> Path:
    """The checkout that holds the tests."""
    return REPOSITORY


@pytest.fixture
def jobkit_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A JOBKIT_HOME of the test's own, set in this process and so in whatever it starts."""
    home = tmp_path / "jobkit-home"
    monkeypatch.setenv("JOBKIT_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def _no_launcher_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide a launcher, or GitHub's runner, that the test suite itself may run under: every test has none."""
    launcher_prefixes = ("MLX_", "JACCL_", "JOBKIT_", "SLURM_", "PMI", "OMPI_", "NCCL_", "GITHUB_")
    for name in list(os.environ):
        if name.startswith(launcher_prefixes) and name != "JOBKIT_HOME":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def _programs_of_this_environment_come_first() -> Iterator[None]:
    """Let `jobkit` and `python` in a test mean those of the interpreter that runs it."""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    yield
    os.environ["PATH"] = before


def is_alive(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def wait_until(condition: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """Return the condition's first true value, or its last at the deadline."""
    deadline = time.monotonic() + deadline_s
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return value


@pytest.fixture
def wait() -> Callable[..., Any]:
    """Wait for a condition."""
    return wait_until


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Say whether a process runs."""
    return is_alive


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    """Make the family's program; whatever of it a failing test leaves is killed."""
    program, folder = tmp_path / "family.py", tmp_path / "family"
    program.write_text(FAMILY)
    folder.mkdir()
    found = Family((sys.executable, str(program), str(folder), "rank"), folder)
    yield found
    for pid in found.alive():
        os.kill(pid, 9)
