"""Jobs of one user that run on one node at the same time never meet each other's ranks."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clusters import mpi
from clusters.slurm import NODES, Slurm

N_JOBS = 100
AT_ONCE = 12
NODE = NODES[0]

# Every rank adds a number that only its job has.
SUM = """
import sys

mine = 1000 * int(sys.argv[1])
if sys.argv[2] == "mlx":
    import mlx.core as mx

    group = mx.distributed.init(strict=True, backend="ring")
    print(mx.distributed.all_sum(mx.array([mine + group.rank()])).item())
else:
    import numpy as np

    import jobkit.native as dist

    group = dist.init(strict=True)
    print(dist.all_sum(np.array([mine + group.rank()]))[0])
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_jobs_sum_what_is_theirs(cluster: Slurm, tmp_path: Path, jobkit_home: Path) -> None:
    program = tmp_path / "sum.py"
    program.write_text(SUM)
    found = [mpi.find(name) for name in ("Open MPI 4", "MPICH 4")]
    mpiruns = [launcher for launcher in found if not isinstance(launcher, str)]

    def job(i: int) -> str:
        kind = "mlx" if i % 10 == 0 else "native"
        rank = ("jobkit", "exec", "--backend=ring", "--", sys.executable, str(program), str(i), kind)
        which = i % (1 + len(mpiruns))
        if which == 0:
            return cluster.run("srun", f"--nodelist={NODE}", "-n2", *rank).stdout
        command = mpiruns[which - 1].command(2, *rank, here=True)
        return cluster.hosts.run(NODE, *command, environ=dict(os.environ)).stdout

    with ThreadPoolExecutor(AT_ONCE) as pool:
        sums = list(pool.map(job, range(N_JOBS)))
    # Hydra may put the numbers of both ranks before the ends of their lines.
    assert ["".join(both.split()) for both in sums] == [f"{2000 * i + 1}" * 2 for i in range(N_JOBS)]
