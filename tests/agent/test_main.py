from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.agent import wire
from jobkit.agent.request import Request


def agent(data: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "jobkit.agent"], input=data, capture_output=True, cwd="/")


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\0\0\0\1S", b"\0\0\1\0R{"])
def test_an_agent_that_is_asked_nothing_does_nothing(data: bytes) -> None:
    ran = agent(data)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def test_a_private_folder_is_made_in_jobkits_home_and_removed(
    make_request: Callable[..., Request], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    environ = {"PATH": "/usr/bin:/bin", "JOBKIT_HOME": str(home)}
    ran = run_agent(make_request("sh", "-c", "echo $JOBKIT_RUN_DIR", run_dir=None, environ=environ))
    assert Path(ran.output().decode().strip()).parent == home
    assert list(home.iterdir()) == []


def test_a_secret_of_the_job_lies_in_the_run_folder_alone(
    make_request: Callable[..., Request], run_agent: Callable[..., Any]
) -> None:
    show = "cat $JOBKIT_RUN_DIR/token; stat -c %a $JOBKIT_RUN_DIR/token; env"
    ran = run_agent(make_request("sh", "-c", show, token="5e5a3e", run_dir=None))
    assert ran.output().startswith(b"5e5a3e600\n")
    assert ran.output().count(b"5e5a3e") == 1


def test_a_private_folder_that_cannot_be_made_is_125(
    make_request: Callable[..., Request], run_agent: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    environ = {"PATH": "/usr/bin:/bin", "JOBKIT_HOME": str(tmp_path / "file")}
    ran = run_agent(make_request("true", run_dir=None, environ=environ))
    assert ran.done.status == 125


def test_frames_end_where_their_length_says() -> None:
    assert wire.frame(wire.SIGNAL, b"INT") == b"\0\0\0\4SINT"
