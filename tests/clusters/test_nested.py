"""A launcher that a rank starts is newer than the one that started the rank."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from clusters import mpi
from clusters.places import check, say, seen
from clusters.slurm import Slurm

TORCHRUN = (
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--no-python",
    "--standalone",
    "--nproc-per-node=2",
)
LAUNCH = ("jobkit", "launch", "-n", "2", "--")


def outer(folder: Path, *inner: str) -> tuple[str, ...]:
    """Return the command of an outer rank: an inner launcher, whose ranks say where they are."""
    words = " ".join(f"'{word}'" for word in (*inner, *say(folder)))
    mine = f"{folder}/$JOBKIT_RANK"
    return ("sh", "-c", f"mkdir {mine} && {words}".replace(f"'{folder}'", mine))


def check_both(folder: Path, launcher: str) -> None:
    """Check what the two ranks of both inner launchers said."""
    for rank in ("0", "1"):
        every = seen(folder / rank)
        assert len(every) == 2
        check(every, launcher)


def under_jobkit(folder: Path, *inner: str) -> None:
    subprocess.run(
        [*LAUNCH, *outer(folder, *inner)],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )


def under_srun(cluster: Slurm, folder: Path, *inner: str) -> None:
    cluster.run("srun", "-N1", "-n2", "jobkit", "exec", "--", *outer(folder, *inner))


def test_torchrun_in_a_rank_of_jobkit(tmp_path: Path, jobkit_home: Path) -> None:
    under_jobkit(tmp_path, *TORCHRUN)
    check_both(tmp_path, "torchrun")


def test_mpirun_in_a_rank_of_jobkit(mpirun: mpi.Mpi, tmp_path: Path, jobkit_home: Path) -> None:
    under_jobkit(tmp_path, *mpirun.command(2, here=True))
    check_both(tmp_path, mpirun.launcher)


def test_jobkit_launch_in_a_rank_of_jobkit(tmp_path: Path, jobkit_home: Path) -> None:
    under_jobkit(tmp_path, *LAUNCH)
    check_both(tmp_path, "jobkit")


@pytest.mark.slow
def test_torchrun_in_a_rank_of_srun(cluster: Slurm, tmp_path: Path, jobkit_home: Path) -> None:
    under_srun(cluster, tmp_path, *TORCHRUN)
    check_both(tmp_path, "torchrun")


def test_mpirun_in_a_rank_of_srun(mpirun: mpi.Mpi, cluster: Slurm, tmp_path: Path, jobkit_home: Path) -> None:
    under_srun(cluster, tmp_path, *mpirun.command(2, here=True))
    check_both(tmp_path, mpirun.launcher)


def test_jobkit_launch_in_a_rank_of_srun(cluster: Slurm, tmp_path: Path, jobkit_home: Path) -> None:
    under_srun(cluster, tmp_path, *LAUNCH)
    check_both(tmp_path, "jobkit")
