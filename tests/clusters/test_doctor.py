"""`jobkit doctor` on a real Slurm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clusters.slurm import NODES, Slurm


@pytest.fixture
def doctor(cluster: Slurm, jobkit_home: Path, tmp_path: Path) -> Callable[..., Any]:
    """Ask on the login host about a spec; return the status and the rows by their check."""

    def ask(*words: str) -> tuple[int, dict[str, Any]]:
        (tmp_path / "a.yaml").write_text("executor: slurm\nrun: 'true'\nnodes: 2\n")
        done = cluster.run("jobkit", "doctor", "a.yaml", "--json", *words, cwd=str(tmp_path), check=False)
        return done.returncode, {row["check"]: row for row in json.loads(done.stdout)["checks"]}

    return ask


def test_a_spec_that_will_run(doctor: Callable[..., Any], cluster: Slurm, jobkit_home: Path) -> None:
    status, rows = doctor()
    # The cluster of the tests tracks processes by their parents.
    assert {name for name, row in rows.items() if row["state"] != "ok"} == {"processes"}, rows
    assert status == 0
    assert rows["MPI"]["found"].startswith("pmix")
    assert rows["node"]["found"].partition(" ")[0] in NODES
    assert cluster.run("squeue", "--noheader", "--states=pending,running").stdout == ""
    assert list((jobkit_home / "jobs").iterdir()) == []


def test_a_spec_that_will_not(doctor: Callable[..., Any], cluster: Slurm) -> None:
    # /dev/shm is each host's own, and Slurm queues for ever what is above the limit of a partition.
    cluster.run("scontrol", "update", "PartitionName=main", "MaxTime=5")
    try:
        status, rows = doctor(
            "--set",
            "run_dir=/dev/shm",
            "--set",
            "python=/usr/bin/true",
            "--set",
            "time=1h",
            "--set",
            "nodes=9",
        )
    finally:
        cluster.run("scontrol", "update", "PartitionName=main", "MaxTime=UNLIMITED")
    assert status == 1
    failing = {name for name, row in rows.items() if row["state"] == "fails"}
    assert failing == {"partition", "submission", "run folder", "python"}, rows
