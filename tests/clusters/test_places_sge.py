"""Under Grid Engine the shell of a job is no rank, and what mpirun starts from there through qrsh is one."""

from __future__ import annotations

from pathlib import Path

import pytest
from clusters.mpi import Mpi
from clusters.places import check, check_no_rank, say, seen
from clusters.sge import NODES, GridEngine


def batch(grid: GridEngine, folder: Path, *words: str, flags: tuple[str, ...] = ()) -> str:
    """Run a command as a batch job to its end, and return what it printed."""
    script = folder / "script.sh"
    script.write_text("#!/bin/sh\n" + " ".join(f"'{word}'" for word in words) + "\n")
    return grid.batch(script, *flags)


@pytest.mark.parametrize(
    "flags", [(), ("-pe", "mpi", "4"), ("-t", "1-3:2")], ids=["plain", "parallel", "array"]
)
def test_the_shell_of_a_job_is_no_rank(grid: GridEngine, tmp_path: Path, flags: tuple[str, ...]) -> None:
    batch(grid, tmp_path, *say(tmp_path), flags=flags)
    every = seen(tmp_path)
    assert len(every) == (2 if "-t" in flags else 1)
    if "-pe" in flags:
        check_no_rank(every, "SGE", "2 hosts")
    else:
        check_no_rank(every, "SGE")


@pytest.mark.parametrize("mpirun", ["Open MPI 4", "MPICH 4", "MPICH 5", "Intel MPI"], indirect=True)
def test_ranks_that_the_scheduler_started_on_several_hosts(
    mpirun: Mpi, grid: GridEngine, tmp_path: Path
) -> None:
    said = batch(grid, tmp_path, *mpirun.command(4, *say(tmp_path)), flags=("-pe", "mpi", "4"))
    every = seen(tmp_path)
    assert len(every) == 4, said
    check(every, mpirun.launcher)
    assert {one.host for one in every} == set(NODES)
