"""Processes that MPI's launchers started know their places, on one host and inside Slurm."""

from __future__ import annotations

import subprocess
from pathlib import Path

from clusters.mpi import Mpi
from clusters.places import check, say, seen
from clusters.slurm import Slurm


def test_ranks_on_one_host(mpirun: Mpi, tmp_path: Path) -> None:
    ranks = mpirun.command(3, *say(tmp_path), here=True)
    subprocess.run(ranks, check=True, timeout=60, stdin=subprocess.DEVNULL)
    check(seen(tmp_path), mpirun.launcher)


def test_ranks_inside_an_allocation(mpirun: Mpi, cluster: Slurm, tmp_path: Path) -> None:
    # Each finds SLURM_PROCID too: that of the daemon that started it.
    cluster.run("salloc", "-N2", "--ntasks-per-node=2", *mpirun.command(4, *say(tmp_path)))
    every = seen(tmp_path)
    check(every, mpirun.launcher)
    assert len({one.host for one in every}) == 2


def test_a_step_below_a_rank_is_newer(mpirun: Mpi, cluster: Slurm, tmp_path: Path) -> None:
    step = ("srun", "--overlap", "-N2", "-n2", "--mpi=none", *say(tmp_path))
    cluster.run("salloc", "-N2", "--ntasks-per-node=2", *mpirun.command(1, *step))
    check(seen(tmp_path), "slurm")


def test_ranks_below_a_task_are_newer(mpirun: Mpi, cluster: Slurm, tmp_path: Path) -> None:
    # Left alone, Hydra would start its proxy with srun, which waits for the processors that this task has.
    cluster.run("srun", "-N1", "-n1", *mpirun.command(2, *say(tmp_path), here=True))
    check(seen(tmp_path), mpirun.launcher)
