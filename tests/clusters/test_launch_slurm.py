"""`jobkit launch` in allocations of a real Slurm: shells of salloc, batch scripts, interactive steps."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from clusters.slurm import NODES, Slurm

PROGRAM = """
import os, sys
import numpy as np
import jobkit.native as dist
group = dist.init(strict=True)
total = int(dist.all_sum(np.array([group.rank() + 1]))[0])
print(os.uname().nodename, total, os.environ.get("CUDA_VISIBLE_DEVICES", ""), sys.stdin.read())
"""
# What a shell may have from another job or its start-up files: each is an option of srun's.
STALE = {
    "SLURM_NTASKS": "3",
    "SLURM_NNODES": "1",
    "SLURM_MPI_TYPE": "pmix",
    "SLURM_DISTRIBUTION": "arbitrary",
    "SLURM_HOSTFILE": "/nowhere",
    "SLURM_LABELIO": "1",
    "SLURM_EXPORT_ENV": "NONE",
}
Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def salloc(cluster: Slurm, jobkit_home: Path, tmp_path: Path) -> Shell:
    """Run lines of a shell in an allocation; their own output comes first."""

    def run(lines: str, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
        exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        script = "\n".join((*exports, lines))
        return cluster.run("salloc", "--quiet", *flags, "bash", "-c", script, cwd=str(tmp_path), check=False)

    return run


@pytest.fixture
def program(tmp_path: Path) -> str:
    """Say where a rank is, the sum over all ranks, its devices and its input."""
    (tmp_path / "program.py").write_text(PROGRAM)
    return shlex.join((sys.executable, str(tmp_path / "program.py")))


def test_an_allocation_is_used_as_one_machine_would_be(salloc: Shell, program: str) -> None:
    lines = f"echo hello | jobkit launch --backend ring --label {program}"
    done = salloc(lines, "-N2", "--ntasks-per-node=2", "--gpus-per-node=2", **STALE)
    hosts = (NODES[0], NODES[0], NODES[1], NODES[1])
    expected = [f"[{rank}] {host} 10 0,1 hello" for rank, host in enumerate(hosts)]
    assert [line for line in sorted(done.stdout.splitlines()) if line != f"[{line[1:2]}] "] == expected, (
        done.stderr
    )


def test_ranks_per_node_are_the_allocations_own_even_if_uneven(salloc: Shell) -> None:
    say = "sh -c 'echo $JOBKIT_RANK $JOBKIT_SIZE $JOBKIT_LOCAL_SIZE $(hostname)'"
    launch = "jobkit launch --backend none"
    done = salloc(f"echo $SLURM_TASKS_PER_NODE; {launch} {say}; {launch} -n 1 {say}", "-N2", "-n4")
    sizes, *said = done.stdout.splitlines()
    assert sizes == "3,1", done.stderr
    assert sorted(said[:4]) == [f"{r} 4 3 {NODES[0]}" for r in range(3)] + [f"3 4 1 {NODES[1]}"]
    assert sorted(said[4:]) == [f"0 2 1 {NODES[0]}", f"1 2 1 {NODES[1]}"]


def test_the_first_failing_rank_gives_the_status_and_ends_the_other_nodes(salloc: Shell) -> None:
    fail = "jobkit launch --backend none -- sh -c 'test $JOBKIT_RANK = 3 && exit 7; exec sleep 600'"
    missing = "jobkit launch --backend none no-such-program"
    done = salloc(f"{fail}; echo $?; {missing}; echo $?", "-N2", "--ntasks-per-node=2")
    assert done.stdout.split() == ["7", "127"], done.stderr
    assert f"rank 3 of 4 on {NODES[1]} exited with status 7; the other ranks were ended" in done.stderr


def test_it_runs_in_batch_scripts_and_in_interactive_steps(
    cluster: Slurm, jobkit_home: Path, tmp_path: Path, program: str
) -> None:
    launch = f"jobkit launch --backend ring --stdin none {program}"
    script = tmp_path / "script.sh"
    script.write_text(f"#!/bin/sh\n{launch}\n")
    cluster.batch(script, "-N2", "--ntasks-per-node=2", f"--output={tmp_path}/log")
    # A line on a terminal ends the interactive step's shell: `salloc` alone starts one on the first node.
    typed = f"exec 2>&1; {launch}; exit\n"
    command = ("script", "--quiet", "--command", "salloc --quiet -N2 --ntasks-per-node=2", "/dev/null")
    shell = cluster.hosts.command("login", *command, cwd=str(tmp_path))
    done = subprocess.run(
        shell, input=typed, env=cluster.environ(), capture_output=True, text=True, timeout=120, check=False
    )
    for said in ((tmp_path / "log").read_text(), done.stdout):
        assert [said.count(f"{host} 10") for host in NODES] == [2, 2, 0], said


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_a_signal_ends_every_node(salloc: Shell, name: str) -> None:
    sleep = "jobkit launch --backend none -- sh -c 'touch here-$JOBKIT_RANK; exec sleep 600' &"
    wait = "until test -e here-0 -a -e here-3; do sleep .1; done"
    left = "srun --overlap --jobid=$SLURM_JOB_ID --mpi=none -N2 -n2 pgrep -x sleep"
    # A shell's background command ignores INT unless it has jobs of its own.
    done = salloc(
        f"set -m\n{sleep}\n{wait}; kill -{name} $!; wait $!; echo $?; {left}", "-N2", "--ntasks-per-node=2"
    )
    assert done.stdout.split() == [{"INT": "130", "TERM": "143"}[name]], done.stderr


def test_a_step_that_ends_under_it_is_told(salloc: Shell) -> None:
    start = "jobkit launch --backend none -- sh -c 'touch here-$JOBKIT_RANK; exec sleep 600' &"
    kill = "until test -e here-0 -a -e here-1; do sleep .1; done; kill -9 $(pgrep -x srun -P $! | head -n 1)"
    left = "srun --overlap --jobid=$SLURM_JOB_ID --mpi=none -N2 -n2 pgrep -x sleep"
    done = salloc(f"{start} {kill}; wait $!; echo $?; {left}", "-N2")
    assert done.stdout.split() == ["125"], done.stderr
    assert f"{NODES[0]}, {NODES[1]}: srun was killed by signal 9 before the ranks had" in done.stderr


def test_a_node_that_falls_silent_is_told_and_ends_its_ranks(
    cluster: Slurm, salloc: Shell, tmp_path: Path, wait: Callable[..., bool]
) -> None:
    until = "until test -e {}; do sleep .1; done"
    cut = f"{until.format('here-1')}; ip link set eth0 down; {until.format('told')}; ip link set eth0 up"
    start = "jobkit launch --backend none -- sh -c 'touch here-$JOBKIT_RANK; exec sleep 600'"
    with subprocess.Popen(cluster.hosts.command(NODES[1], "sh", "-c", f"{cut}; touch up", cwd=str(tmp_path))):
        done = salloc(f"{start}; echo $?; touch told; {until.format('up')}", "-N2")
    assert done.stdout.split() == ["125"], done.stderr
    assert f"{NODES[1]}: the connection to its agent is lost" in done.stderr
    assert wait(lambda: cluster.hosts.run(NODES[1], "pgrep", "-x", "sleep", check=False).returncode == 1)


def test_an_allocation_that_is_gone_is_told(cluster: Slurm, jobkit_home: Path) -> None:
    gone = {"SLURM_JOB_ID": "999999", "SLURM_JOB_NODELIST": NODES[0], "SLURM_TASKS_PER_NODE": "1"}
    done = cluster.run("jobkit", "launch", "true", check=False, **gone)
    assert done.returncode == 125
    assert "Invalid job id" in done.stderr
    assert f"{NODES[0]}: srun ended with status 1 before the ranks had" in done.stderr
