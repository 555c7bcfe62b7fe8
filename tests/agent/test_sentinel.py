"""Whoever of the three is killed, nothing of the job is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.agent.client import Agent
from jobkit.agent.events import Done, Lost, Problem, Started
from jobkit.agent.request import Request

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")

RANKS = 2


def agent_of(sentinel: int) -> int:
    return int(Path(f"/proc/{sentinel}/task/{sentinel}/children").read_text().split()[0])


@pytest.fixture
def started(
    make_request: Callable[..., Request], family: Any, wait: Callable[..., Any], listen: Callable[..., Any]
) -> Any:
    with Agent.start(make_request(*family.command, ranks=RANKS)) as agent:
        listen(agent, lambda events: sum(isinstance(e, Started) for e in events) == RANKS)
        assert wait(lambda: len(family.alive()) == RANKS * 5)
        yield agent


def test_a_killed_agent_leaves_nothing(
    started: Agent, family: Any, wait: Callable[..., Any], listen: Callable[..., Any]
) -> None:
    os.kill(agent_of(started.pid), signal.SIGKILL)
    assert wait(lambda: not family.alive())
    assert isinstance(listen(started)[-1], Lost)


def test_a_killed_sentinel_leaves_nothing(
    started: Agent, family: Any, wait: Callable[..., Any], listen: Callable[..., Any]
) -> None:
    os.kill(started.pid, signal.SIGKILL)
    assert wait(lambda: not family.alive())
    events = listen(started)
    assert isinstance(events[-1], Done)
    assert events[-1].status == 125
    assert any(isinstance(e, Problem) and "sentinel" in e.message for e in events)


def test_a_stopped_agent_is_ended_when_the_launcher_goes(
    started: Agent, family: Any, wait: Callable[..., Any]
) -> None:
    agent = agent_of(started.pid)
    os.kill(agent, signal.SIGSTOP)
    started.close()
    assert wait(lambda: not family.alive())
    assert not Path(f"/proc/{agent}").exists()


def test_the_end_of_the_lease_leaves_nothing(started: Agent, family: Any) -> None:
    started.close()
    assert not family.alive()


def test_a_stopped_family_is_ended_too(started: Agent, family: Any) -> None:
    for pid in family.alive():
        os.kill(pid, signal.SIGSTOP)
    started.close()
    assert not family.alive()


@pytest.mark.parametrize("victim", ["launcher", "agent", "sentinel"])
def test_kill_9_leaves_no_temporary_folder(
    victim: str, tmp_path: Path, family: Any, wait: Callable[..., Any]
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environ = {**os.environ, "TMPDIR": str(temporary)}
    environ.pop("JOBKIT_HOME", None)
    command = [sys.executable, "-m", "jobkit", "launch", "-n", "2", "--", *family.command]
    with subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as launcher:
        assert wait(lambda: len(family.alive()) == RANKS * 5)
        sentinel = agent_of(launcher.pid)
        pids = {"launcher": launcher.pid, "sentinel": sentinel, "agent": agent_of(sentinel)}
        assert list(temporary.iterdir())
        os.kill(pids[victim], signal.SIGKILL)
        assert wait(lambda: not family.alive())
        launcher.communicate()
    assert wait(lambda: not list(temporary.iterdir()))
    assert launcher.returncode == (-9 if victim == "launcher" else 125)
