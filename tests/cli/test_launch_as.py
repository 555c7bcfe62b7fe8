"""`jobkit launch --as`: a program here sees the variables of a launcher, and `jobkit exec` works inside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobkit.cli import launch_as
from jobkit.pretend.__main__ import KNOWN
from jobkit.pretend.shells import SHELLS
from jobkit.pretend.steps import STEPS

SUM = """
import os
import numpy as np
import jobkit.native as dist
world = dist.init()
place = [os.environ["JOBKIT_" + name] for name in ("RANK", "LOCAL_RANK", "NODE", "NODES")]
print(*place, int(dist.all_sum(np.ones(1)).item()), flush=True)
"""


@pytest.fixture(autouse=True)
def _home(jobkit_home: Path) -> None:
    """No test writes into the user's records."""


def launch(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobkit", "launch", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("launcher", STEPS)
def test_ranks_on_two_nodes_meet_through_the_shim(launcher: str) -> None:
    pytest.importorskip("jobkit.native._core")
    inner = ["jobkit", "exec", "--backend", "ring", "--", sys.executable, "-c", SUM]
    done = launch("--as", f"{launcher}:2x2", "--", *inner)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["0 0 0 2 4", "1 1 0 2 4", "2 0 1 2 4", "3 1 1 2 4"]


def test_the_program_sees_the_launcher_and_nothing_of_jobkit_s() -> None:
    done = launch("--as", "slurm:2x1", "--", "env")
    assert done.returncode == 0, done.stderr
    seen = [line.partition("=")[0] for line in done.stdout.splitlines()]
    assert seen.count("SLURM_PROCID") == 2
    assert {name for name in seen if name.startswith("JOBKIT_")} == {"JOBKIT_JOB", "JOBKIT_HOME"}


@pytest.mark.parametrize("launcher", SHELLS)
def test_a_batch_shell_is_started_once_and_launches_its_ranks(launcher: str) -> None:
    program = ["sh", "-c", "jobkit env --json; jobkit launch -n 2 -- sh -c 'echo $JOBKIT_SIZE'"]
    done = launch("--as", f"{launcher}:2x2", "--", *program)
    assert done.returncode == 0, done.stderr
    text, _, rest = done.stdout.partition("\n}\n")
    assert json.loads(text + "}")["placement"] is None
    assert rest.split() == ["2", "2"]


def test_the_first_failure_is_the_status() -> None:
    done = launch("--as", "slurm:1x2", "--", "sh", "-c", 'test "$SLURM_PROCID" = 0 && exec sleep 600; exit 7')
    assert done.returncode == 7
    assert "rank 1 of 2 on " in done.stderr


@pytest.mark.parametrize(
    "words", [["-n", "2"], ["--hosts", "a"], ["--hostfile", "f"], ["--backend", "ring"]], ids=lambda w: w[0]
)
def test_what_says_the_same_in_another_way_is_refused(words: list[str]) -> None:
    done = launch("--as", "slurm:2x2", *words, "--", "true")
    assert done.returncode == 2
    assert f"--as: cannot be given together with {words[0]}" in done.stderr


def test_an_unknown_launcher_is_refused_and_the_known_are_in_the_help() -> None:
    assert launch("--as", "slrum:2x2", "true").returncode == 2
    shown = launch("--help").stdout
    assert [name for name in KNOWN if name not in shown] == []


def test_files_and_port_are_gone_when_the_ranks_are() -> None:
    with launch_as._offered(launch_as.shape("torchrun:1x2", KNOWN)) as (port, files):
        assert int(port) > 0
        assert Path(files).is_dir()
    assert not Path(files).exists()
