"""The end of a rank under a real launcher: its status, its record, and what it was handed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clusters import mpi
from clusters.slurm import Slurm

# Waits for the others through MPI itself: its process manager has to be reached.
WORLD = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)
library.MPI_Init(None, None)
size = ctypes.c_int()
library.MPI_Comm_size(ctypes.c_int(0x44000000), ctypes.byref(size))
library.MPI_Barrier(ctypes.c_int(0x44000000))
print(size.value, flush=True)
library.MPI_Finalize()
"""


def test_the_exit_of_a_rank_is_in_its_record(cluster: Slurm, jobkit_home: Path) -> None:
    fail = 'test "$JOBKIT_RANK" != 1 || exit 7'
    step = cluster.run("srun", "-N3", "-n3", "jobkit", "exec", "--", "sh", "-c", fail, check=False)
    assert step.returncode == 7, step.stderr
    (attempt,) = jobkit_home.glob("jobs/slurm-*/attempt-1")
    records = [json.loads((attempt / f"rank-{rank}.exit.json").read_text()) for rank in range(3)]
    assert [record["status"] for record in records] == [0, 7, 0]


@pytest.mark.parametrize("mpirun", ["MPICH 4", "MPICH 5"], indirect=True)
def test_a_rank_reaches_its_process_manager_through_the_shim(
    mpirun: mpi.Mpi, cluster: Slurm, jobkit_home: Path
) -> None:
    program = ("python", "-c", WORLD, mpirun.library)
    step = cluster.run(
        *("srun", "--mpi=pmi2", "-N2", "--ntasks-per-node=2"),
        *("jobkit", "exec", "--backend=none", "--", *program),
    )
    assert step.stdout.split() == ["4"] * 4
