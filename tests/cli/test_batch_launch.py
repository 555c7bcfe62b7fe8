"""Launches in batch jobs, through stand-ins: scripts that are named as the schedulers' starters and run the
command on this host. What the real ones do besides is tested in tests/clusters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# How many words come before the command in each.
STAND_INS = {"pbsdsh": 3, "qrsh": 3, "blaunch": 1}

ALLSUM = """
import numpy, os, jobkit.native as dist
group = dist.init(strict=True)
print(os.environ["JOBKIT_NODE"], group.rank(), group.size(), dist.all_sum(numpy.ones(3))[0], flush=True)
"""

Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(params=STAND_INS)
def launch(request: pytest.FixtureRequest, tmp_path: Path, jobkit_home: Path) -> Launch:
    """Start `jobkit launch` as in the shell of a batch job of two hosts, both of them this one."""
    starter = request.param
    program = tmp_path / starter
    log = tmp_path / "argv"
    program.write_text(f'#!/bin/sh\nshift {STAND_INS[starter]}\necho "$@" >> {log}\nexec "$@"\n')
    program.chmod(0o755)
    (tmp_path / "pbs").write_text("localhost\nlocalhost\n127.0.0.1\n")
    (tmp_path / "sge").write_text("localhost 2 q UNDEFINED\n127.0.0.1 2 q UNDEFINED\n")
    environ = {
        "pbsdsh": {"PBS_JOBID": "12.server", "PBS_NODEFILE": str(tmp_path / "pbs")},
        "qrsh": {"JOB_ID": "7", "PE_HOSTFILE": str(tmp_path / "sge")},
        "blaunch": {"LSB_JOBID": "3", "LSB_MCPU_HOSTS": "localhost 2 127.0.0.1 2"},
    }[starter]
    environ |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "JOBKIT_HOME": str(jobkit_home)}

    def start(*words: str, stdin: int = subprocess.DEVNULL, **more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "jobkit", "launch", "-n", "2", *words]
        pipes: dict[str, Any] = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(
            command, env={**os.environ, **environ, **more}, stdin=stdin, text=True, **pipes
        )

    return start


def test_ranks_of_every_host_meet(launch: Launch, tmp_path: Path, jobkit_home: Path) -> None:
    process = launch("--backend", "ring", "--", sys.executable, "-c", ALLSUM, SECRET="hunter2")
    out, error = process.communicate()
    assert sorted(out.splitlines()) == ["0 0 4 4.0", "0 1 4 4.0", "1 2 4 4.0", "1 3 4 4.0"], error
    assert process.returncode == 0
    (run_dir,) = (jobkit_home / "jobs").iterdir()
    assert [path.name for path in run_dir.iterdir()] == ["attempt-1"]
    argv = (tmp_path / "argv").read_text()
    assert "jobkit.agent.relay" in argv
    assert "hunter2" not in argv


def test_the_first_failure_ends_every_host_and_is_the_status(launch: Launch, jobkit_home: Path) -> None:
    script = "[ $JOBKIT_RANK = 3 ] && exit 7; exec sleep 600"
    process = launch("--backend", "none", "--", "sh", "-c", script)
    _, error = process.communicate()
    assert process.returncode == 7
    assert "rank 3 of 4" in error
    (folder,) = jobkit_home.glob("jobs/*/attempt-1")
    statuses = [json.loads(path.read_text())["status"] for path in folder.glob("rank-*.exit.json")]
    assert sorted(statuses) == [7, 143, 143, 143]


def test_input_prefixes_and_the_table_are_those_of_one_machine(launch: Launch) -> None:
    process = launch("--backend", "none", "--label", "--table", "cat", stdin=subprocess.PIPE)
    out, error = process.communicate("hello\n")
    assert sorted(out.splitlines()) == [f"[{rank}] hello" for rank in range(4)], error
    assert [line.split()[0] for line in error.splitlines()] == ["rank", "0", "1", "2", "3"]


def test_one_rank_of_another_host_reads_the_input(launch: Launch) -> None:
    process = launch("--backend", "none", "--label", "--stdin", "3", "cat", stdin=subprocess.PIPE)
    # More than fits under way at once.
    out, error = process.communicate("0123456789abcde\n" * 200_000)
    assert (out.count("[3] 0123456789abcde\n"), out.count("\n"), process.returncode) == (200_000,) * 2 + (
        0,
    ), error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_every_host(launch: Launch, number: int, alive: Callable[[int], bool]) -> None:
    process = launch("--backend", "none", "--", "sh", "-c", "echo $$; exec sleep 600")
    assert process.stdout is not None
    pids = [int(process.stdout.readline()) for _ in range(4)]
    process.send_signal(number)
    process.communicate()
    assert process.returncode == 128 + number
    assert not any(alive(pid) for pid in pids)


def test_a_launcher_that_is_killed_takes_its_hosts_along(
    launch: Launch, alive: Callable[[int], bool], wait: Callable[..., Any]
) -> None:
    process = launch("--backend", "none", "--", "sh", "-c", "echo $$; exec sleep 600")
    assert process.stdout is not None
    pids = [int(process.stdout.readline()) for _ in range(4)]
    process.kill()
    assert wait(lambda: not any(alive(pid) for pid in pids))
    process.communicate()
