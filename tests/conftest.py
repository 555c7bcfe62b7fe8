"""Fixtures that every folder of tests shares."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


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
    """Hide a launcher that the test suite itself may run under: every test starts from none."""
    launcher_prefixes = ("MLX_", "JACCL_", "JOBKIT_", "SLURM_", "PMI", "OMPI_", "NCCL_")
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
