"""The cluster itself: three nodes, each a host, with GPUs, PMI2 and PMIx."""

from __future__ import annotations

import pytest
from clusters.slurm import NODES, Slurm


def test_a_step_runs_on_every_node(cluster: Slurm) -> None:
    assert sorted(cluster.run("srun", "-N3", "hostname").stdout.split()) == list(NODES)


def test_a_node_has_gpus(cluster: Slurm) -> None:
    step = cluster.run("srun", "-n1", "--gres=gpu:2", "printenv", "CUDA_VISIBLE_DEVICES")
    assert step.stdout == "0,1\n"


@pytest.mark.parametrize(("kind", "variable"), [("pmi2", "PMI_RANK"), ("pmix", "PMIX_RANK")])
def test_a_step_has_the_process_manager_asked_for(cluster: Slurm, kind: str, variable: str) -> None:
    step = cluster.run("srun", "-N3", f"--mpi={kind}", "printenv", variable)
    assert sorted(step.stdout.split()) == ["0", "1", "2"]
