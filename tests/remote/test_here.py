from __future__ import annotations

import signal
import sys

import pytest

from jobkit.errors import LaunchError
from jobkit.remote import here


def test_an_agent_reads_and_writes_one_connection() -> None:
    process, ours = here.start([sys.executable, "-c", "print(input() + ' back')"])
    with ours:
        ours.sendall(b"there and\n")
        assert ours.makefile("rb").readline() == b"there and back\n"
    here.leave([process], 5.0)
    assert process.returncode == 0


def test_one_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here, "_LEAVE_S", 0.05)
    process, ours = here.start([sys.executable, "-c", "import time; time.sleep(600)"])
    ours.close()
    here.leave([process], 0.0)
    assert process.returncode == -signal.SIGKILL


def test_an_interpreter_that_is_not_there_is_told() -> None:
    with pytest.raises(LaunchError, match="/no/such/python: the agent cannot be started"):
        here.start(["/no/such/python"])
