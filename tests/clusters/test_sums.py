"""Ranks on several hosts meet and sum, whatever launcher started them, on MLX's ring and the bundled one."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
from clusters import mpi
from clusters.sge import GridEngine
from clusters.slurm import NODES, Slurm

# Not `python`: mpirun of Open MPI 5 puts its own folder first on the PATH, and that may have another one.
PROGRAMS = {
    "MLX's ring": (sys.executable, "docs/examples/allsum.py"),
    "the bundled ring": (sys.executable, "-m", "jobkit.native", "docs/examples/allsum.py"),
}

LINKS = """
import json, os, pathlib, sys
import numpy as np
import jobkit.native as dist

group = dist.init(strict=True)
total = int(dist.all_sum(np.array([group.rank() + 1]))[0])
links = group.topology()["matrix"]
seen = {"rank": group.rank(), "total": total, "host": os.uname().nodename, "links": links}
pathlib.Path(sys.argv[1], f"{group.rank()}.json").write_text(json.dumps(seen))
"""

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--no-python", "--nnodes=2", "--nproc-per-node=2")


def by_srun(cluster: Slurm, repository: Path, *words: str) -> tuple[int, str]:
    """Return the number of ranks that srun starts on three hosts, and what they printed."""
    return 6, cluster.run("srun", "-N3", "--ntasks-per-node=2", *words, cwd=str(repository)).stdout


def by_torchrun(cluster: Slurm, repository: Path, *words: str) -> tuple[int, str]:
    """Return the number of ranks that torchrun starts on two hosts, and what they printed."""
    nodes = f"--nodelist={','.join(NODES[:2])}"
    meeting = ("--rdzv-backend=c10d", f"--rdzv-endpoint={NODES[0]}:29500", "--rdzv-id=7")
    step = cluster.run("srun", "-N2", "-n2", nodes, *TORCHRUN, *meeting, *words, cwd=str(repository))
    return 4, step.stdout


def by_mpirun(launcher: mpi.Mpi, cluster: Slurm, repository: Path, *words: str) -> tuple[int, str]:
    """Return the number of ranks that mpirun starts on two hosts, and what they printed."""
    command = ("salloc", "-N2", "--ntasks-per-node=2", *launcher.command(4, *words))
    return 4, cluster.run(*command, cwd=str(repository)).stdout


def check_sums(n_ranks: int, printed: str) -> None:
    """Check that every rank printed the sum; some launchers mix the lines of their ranks."""
    sums = printed.count("array(")
    right = f"array([{n_ranks}, {n_ranks}, {n_ranks}, ..., {n_ranks}, {n_ranks}, {n_ranks}], dtype=float32)"
    assert (sums, printed.count(right)) == (n_ranks, n_ranks), printed


def check_links(n_ranks: int, folder: Path) -> None:
    """Check that ranks on one host share memory and those on several speak TCP."""
    every = sorted(
        (json.loads(file.read_text()) for file in folder.glob("*.json")), key=lambda one: one["rank"]
    )
    assert [one["rank"] for one in every] == list(range(n_ranks))
    hosts = [one["host"] for one in every]
    assert len(set(hosts)) > 1
    for one in every:
        assert one["total"] == n_ranks * (n_ranks + 1) // 2
        for rank, row in enumerate(one["links"]):
            assert row == [
                "self" if rank == peer else "shm" if hosts[rank] == hosts[peer] else "direct"
                for peer in range(n_ranks)
            ]


@pytest.fixture
def links(tmp_path: Path) -> tuple[str, ...]:
    """The command of a rank that writes how it is linked to the others."""
    program = tmp_path / "links.py"
    program.write_text(LINKS)
    return ("jobkit", "exec", "--", sys.executable, str(program), str(tmp_path))


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_under_srun(cluster: Slurm, repository: Path, jobkit_home: Path, program: tuple[str, ...]) -> None:
    check_sums(*by_srun(cluster, repository, "jobkit", "exec", "--", *program))


def test_the_links_under_srun(
    cluster: Slurm, repository: Path, jobkit_home: Path, tmp_path: Path, links: tuple[str, ...]
) -> None:
    check_links(by_srun(cluster, repository, *links)[0], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_under_torchrun(
    cluster: Slurm, repository: Path, jobkit_home: Path, program: tuple[str, ...]
) -> None:
    check_sums(*by_torchrun(cluster, repository, "jobkit", "exec", "--", *program))


def test_the_links_under_torchrun(
    cluster: Slurm, repository: Path, jobkit_home: Path, tmp_path: Path, links: tuple[str, ...]
) -> None:
    check_links(by_torchrun(cluster, repository, *links)[0], tmp_path)


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_under_mpirun(
    mpirun: mpi.Mpi,
    cluster: Slurm,
    repository: Path,
    jobkit_home: Path,
    tmp_path: Path,
    program: tuple[str, ...],
) -> None:
    words = ("jobkit", "exec", "--backend=ring", "--", *program)
    check_sums(*by_mpirun(mpirun, cluster, repository, *words))


def test_the_links_under_mpirun(
    mpirun: mpi.Mpi,
    cluster: Slurm,
    repository: Path,
    jobkit_home: Path,
    tmp_path: Path,
    links: tuple[str, ...],
) -> None:
    check_links(by_mpirun(mpirun, cluster, repository, *links)[0], tmp_path)


@pytest.mark.parametrize("mpirun", ["Open MPI 4", "Open MPI 5"], indirect=True)
def test_over_mpi(
    mpirun: mpi.Mpi, cluster: Slurm, repository: Path, jobkit_home: Path, tmp_path: Path
) -> None:
    words = ("jobkit", "exec", "--backend=mpi", "--", *PROGRAMS["MLX's ring"])
    check_sums(*by_mpirun(mpirun, cluster, repository, *words))


def test_over_mpi_under_srun(cluster: Slurm, repository: Path, jobkit_home: Path) -> None:
    words = ("--mpi=pmix", "jobkit", "exec", "--backend=mpi", "--", *PROGRAMS["MLX's ring"])
    check_sums(*by_srun(cluster, repository, *words))


@pytest.mark.parametrize("mpirun", ["MPICH 4"], indirect=True)
def test_the_host_of_rank_0_may_be_told_instead_of_a_folder(
    mpirun: mpi.Mpi, cluster: Slurm, repository: Path, jobkit_home: Path
) -> None:
    nodes = ("-N2", "--ntasks-per-node=2", f"--nodelist={','.join(NODES[:2])}")
    command = mpirun.command(4, "jobkit", "exec", "--", *PROGRAMS["MLX's ring"])
    ranks = cluster.run("salloc", *nodes, *command, cwd=str(repository), JOBKIT_COORDINATOR=NODES[0])
    check_sums(4, ranks.stdout)


def by_grid_engine(launcher: mpi.Mpi, grid: GridEngine, repository: Path, folder: Path, **told: str) -> str:
    """Return what four ranks that mpirun starts on two hosts printed, told more by variables."""
    program = (sys.executable, str(repository / "docs/examples/allsum.py"))
    command = launcher.command(4, "jobkit", "exec", "--backend=ring", "--", *program)
    # Over several hosts Hydra has no name for a job; the scheduler's is right while a job is one mpirun.
    variables = "".join(f"export {name}='{value}'\n" for name, value in told.items())
    script = folder / "script.sh"
    script.write_text(f"#!/bin/sh\nexport JOBKIT_JOB=sge-$JOB_ID\n{variables}{shlex.join(command)}\n")
    return grid.batch(script, "-pe", "mpi", "4")


@pytest.mark.parametrize("mpirun", ["Open MPI 4", "MPICH 4"], indirect=True)
def test_under_grid_engine(
    mpirun: mpi.Mpi, grid: GridEngine, repository: Path, jobkit_home: Path, tmp_path: Path
) -> None:
    run_dir = str(tmp_path / "run")
    check_sums(4, by_grid_engine(mpirun, grid, repository, tmp_path, JOBKIT_RUN_DIR=run_dir))


@pytest.mark.parametrize("mpirun", ["MPICH 4"], indirect=True)
def test_where_nothing_tells_it_the_ranks_are_refused_with_what_to_add(
    mpirun: mpi.Mpi, grid: GridEngine, repository: Path, jobkit_home: Path, tmp_path: Path
) -> None:
    said = by_grid_engine(mpirun, grid, repository, tmp_path)
    assert "hint: export JOBKIT_COORDINATOR=HOST" in said
