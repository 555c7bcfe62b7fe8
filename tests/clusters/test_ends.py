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


def test_a_job_that_is_requeued_is_another_attempt(cluster: Slurm, tmp_path: Path, jobkit_home: Path) -> None:
    # The first attempt asks for the second; Slurm would let it wait two minutes. In the second of its requeue
    # a job cannot start: its credential was revoked.
    script = tmp_path / "script.sh"
    script.write_text(
        "#!/bin/sh\n"
        "srun jobkit exec -- sh -c 'test $JOBKIT_ATTEMPT = 2 || scontrol requeue $SLURM_JOB_ID; echo ended'\n"
        'test -n "$SLURM_RESTART_COUNT" || sleep 60\n'
    )
    cluster.run("sbatch", "--requeue", "-n2", str(script), cwd=str(tmp_path))
    job = cluster.run("squeue", "--noheader", "--format=%A").stdout.strip()
    cluster.until("PENDING BeginTime\n", "squeue", "--noheader", "--format=%T %r")
    cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now+2seconds")
    cluster.until("", "squeue", "--noheader")
    attempts = jobkit_home / f"jobs/slurm-{job}.0"
    for rank in range(2):
        assert (attempts / f"attempt-1/rank-{rank}.exit.json").exists()
        again = json.loads((attempts / f"attempt-2/rank-{rank}.exit.json").read_text())
        assert again["status"] == 0


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
