from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobkit.env.placement import Found, Placement
from jobkit.env.settings import settings
from jobkit.env.tcp.link import TcpLink
from jobkit.errors import LaunchError

ONE_HOST = Placement(1, 2, 1, 2, 0, 1, ("a", "a"))
TWO_HOSTS = Placement(1, 2, 0, 1, 1, 2, ("a", "b"))


def link(placement: Placement, environ: dict[str, str], run_dir: str = "") -> TcpLink:
    return TcpLink(environ, Found(placement, "job-7"), settings(environ), run_dir)


def ranks(environ: dict[str, str], size: int, *command: str) -> list[subprocess.CompletedProcess[str]]:
    """Run a command on ranks that know RANK, WORLD_SIZE and one address, as torch's users set them."""
    shared = {**os.environ, **environ, "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "jobkit.env", "--", *command],
            env={**shared, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    return [
        subprocess.CompletedProcess(p.args, *((out := p.communicate()) and (p.returncode, *out)))
        for p in started
    ]


def test_a_host_alone_gives_nobody_its_addresses(tmp_path: Path) -> None:
    assert link(ONE_HOST, {"JOBKIT_HOME": str(tmp_path)}).addresses() == ()


def test_a_subnet_that_is_not_here_is_an_error_before_anybody_is_met(tmp_path: Path) -> None:
    environ = {"JOBKIT_SUBNET": "203.0.113.0/24", "JOBKIT_COORDINATOR": "127.0.0.1"}
    with pytest.raises(LaunchError, match=r"no address in 203\.0\.113\.0/24"):
        link(TWO_HOSTS, environ, str(tmp_path)).addresses()


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1e99"])
def test_a_deadline_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(LaunchError, match="JOBKIT_GANG_TIMEOUT_S: not a number of seconds"):
        link(ONE_HOST, {"JOBKIT_HOME": str(tmp_path), "JOBKIT_GANG_TIMEOUT_S": text})


def test_processes_with_torchs_variables_meet(tmp_path: Path) -> None:
    environ = {"JOBKIT_HOME": str(tmp_path), "MASTER_PORT": "29401"}
    ended = ranks(environ, 3, "sh", "-c", "echo $JOBKIT_JOB $JOBKIT_RANK $MLX_RANK; cat $JOBKIT_TOKEN_FILE")
    assert [ran.returncode for ran in ended] == [0, 0, 0], [ran.stderr for ran in ended]
    lines = [ran.stdout.split("\n") for ran in ended]
    assert [line[0] for line in lines] == [f"env-127.0.0.1:29401 {rank} {rank}" for rank in range(3)]
    assert len({line[1] for line in lines}) == 1


def test_the_missing_are_named(tmp_path: Path) -> None:
    environ = {"JOBKIT_HOME": str(tmp_path), "MASTER_PORT": "29402", "JOBKIT_GANG_TIMEOUT_S": "1"}
    alone = {**os.environ, **environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "RANK": "0"}
    command = [sys.executable, "-m", "jobkit.env", "--", "true"]
    ran = subprocess.run(command, env=alone, capture_output=True, text=True, check=False)
    assert ran.returncode == 125
    assert "rank 1 of 2 did not come within 1 s" in ran.stderr
