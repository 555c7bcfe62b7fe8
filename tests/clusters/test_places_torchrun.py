"""Processes that torchrun started know their places, on one host, on two, and inside Slurm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from clusters.places import check, say, seen
from clusters.slurm import NODES, Slurm

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--no-python", "--nproc-per-node=2")


def test_ranks_on_one_host(tmp_path: Path) -> None:
    subprocess.run([*TORCHRUN, "--standalone", *say(tmp_path)], check=True, timeout=120, capture_output=True)
    check(seen(tmp_path), "torchrun")


def test_ranks_inside_a_step(cluster: Slurm, tmp_path: Path) -> None:
    meeting = ("--nnodes=2", "--rdzv-backend=c10d", f"--rdzv-endpoint={NODES[0]}:29500", "--rdzv-id=7")
    cluster.run("srun", "-N2", "-n2", *TORCHRUN, *meeting, *say(tmp_path))
    every = seen(tmp_path)
    check(every, "torchrun")
    assert {one.host for one in every} == set(NODES[:2])
