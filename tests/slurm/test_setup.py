"""The step that runs `setup` on a node; on a real Slurm in tests/clusters/test_sweeps_slurm.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobkit.env import handover
from jobkit.slurm import setup

NODE = {"SLURMD_NODENAME": "gpu-a08", "JOBKIT_ATTEMPT": "2", "PATH": os.environ["PATH"]}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """The run folder of job a, with a point, whose second attempt has begun."""
    for attempt in ("attempt-2", "3/attempt-2"):
        (tmp_path / attempt).mkdir(parents=True)
    (tmp_path / "environ.json").write_text('{"JOBKIT_JOB": "a", "SPEC": "s"}')
    return tmp_path


def start(run_dir: Path, *lines: str, point: str = "", **variables: str) -> subprocess.Popen[str]:
    words = (sys.executable, "-m", "jobkit.slurm.setup", str(run_dir), point, str(run_dir), *lines)
    return subprocess.Popen(words, env=NODE | variables, text=True, stderr=subprocess.PIPE)


def ended(run_dir: Path, *lines: str, point: str = "", **variables: str) -> tuple[int, str]:
    with start(run_dir, *lines, point=point, **variables) as step:
        _, said = step.communicate()
    return step.returncode, said


def test_the_ranks_of_the_node_get_what_the_lines_changed(run_dir: Path) -> None:
    lines = ("export A='1,\n' SPEC=other STEP=7; unset B", 'cd / && PATH="/mine:$PATH"')
    assert ended(run_dir, *lines, A="0", B="0", C="0") == (0, "")
    rank = {**NODE, "A": "0", "B": "0", "C": "0", "SLURM_PROCID": "5"}
    got = handover.taken(rank, str(run_dir))
    assert (got["A"], got["C"], got["SLURM_PROCID"], got["SPEC"], got["STEP"]) == ("1,\n", "0", "5", "s", "7")
    assert "B" not in got
    assert got["PATH"].split(":")[:2] == [str(Path(sys.executable).parent), "/mine"]
    other = handover.taken({**rank, "SLURMD_NODENAME": "gpu-a09"}, str(run_dir))
    assert (other["A"], other["B"]) == ("0", "0")
    assert (run_dir / "attempt-2" / "setup-gpu-a08.json").stat().st_mode & 0o777 == 0o600


def test_the_lines_know_whom_they_are_for(run_dir: Path) -> None:
    assert ended(run_dir, 'export SEEN="$JOBKIT_JOB $JOBKIT_RUN_DIR $PWD"', point="3")[0] == 0
    assert handover.taken(NODE, str(run_dir), "3")["SEEN"] == f"a/3 {run_dir}/3 {run_dir}"


def test_a_line_that_fails_is_named_with_its_node(run_dir: Path) -> None:
    status, said = ended(run_dir, "true", "echo no such module; false", "echo never")
    assert status == 125
    message = f"setup: line 2 failed with status 1 on {os.uname().nodename}: echo no such module; false"
    assert said == f"jobkit: {message}\nno such module\n"
    assert setup.failed(run_dir / "attempt-2") == f"{message}\nno such module"


def test_a_folder_that_is_not_there_is_told(run_dir: Path) -> None:
    (run_dir / "attempt-2").rmdir()
    status, said = ended(run_dir, "true")
    assert status == 125
    assert "setup: cannot be run on" in said


def test_what_the_lines_leave_running_ends_with_them(
    run_dir: Path, wait: Callable[..., object], alive: Callable[[int], bool]
) -> None:
    assert ended(run_dir, "nohup sleep 600 & echo $! > pid; export A=1") == (0, "")
    assert wait(lambda: not alive(int((run_dir / "pid").read_text())))
    assert handover.taken(NODE, str(run_dir))["A"] == "1"


def test_a_step_that_is_told_to_end_takes_the_lines_along_and_blames_none(
    run_dir: Path, wait: Callable[..., object], alive: Callable[[int], bool]
) -> None:
    with start(run_dir, "echo $$ > pid.new; mv pid.new pid; sleep 600") as step:
        assert wait((run_dir / "pid").exists)
        step.send_signal(signal.SIGTERM)
        assert step.wait() == 143
    assert wait(lambda: not alive(int((run_dir / "pid").read_text())))
    assert setup.failed(run_dir / "attempt-2") is None


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"set": {}, "unset": []})])
def test_what_tells_of_no_failure_is_passed_over(text: str, tmp_path: Path) -> None:
    (tmp_path / "setup-a.json").write_text(text)
    assert setup.failed(tmp_path) is None
