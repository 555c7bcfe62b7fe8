"""Sweeps, setup and devices of jobs that `jobkit submit` gives to a real Slurm."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from clusters.slurm import NODES, Slurm

# Waits until every point runs, so that two that took each other's ranks for their own would be seen.
MEETS = """
import os, pathlib, sys, time
import numpy as np
import jobkit.native as dist
here, point = pathlib.Path(sys.argv[1]), sys.argv[2]
(here / f"{point}.{os.environ['JOBKIT_RANK']}").touch()
while len(list(here.glob("?.?"))) < 12:
    time.sleep(0.05)
total = dist.all_sum(np.array([10.0 ** int(point)]), group=dist.init(strict=True))
print(os.environ["JOBKIT_JOB"].partition("/")[2], float(total[0]), os.environ["P"], flush=True)
sys.exit(5 if point == "1" and os.environ["JOBKIT_RANK"] == "2" else 0)
"""
FINDS = """
import json, os
slurms = ("SLURMD_NODENAME", "SLURM_CPUS_PER_TASK", "SLURM_MEM_PER_NODE")
names = ("MARK", "CUDA_VISIBLE_DEVICES", "MASTER_PORT", *slurms)
print(json.dumps({name: os.environ.get(name) for name in names}))
"""
SLEEPS = json.dumps([sys.executable, "-c", "import time; time.sleep(600)"])


class Desk:
    """The login host, where specs are submitted."""

    def __init__(self, cluster: Slurm, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder

    def jobkit(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.cluster.run("jobkit", *words, cwd=str(self.folder), check=False, **variables)

    def submit(self, *lines: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        (self.folder / "a.yaml").write_text("\n".join(("executor: slurm", "time: 2m", *lines)) + "\n")
        return self.jobkit("submit", "a.yaml", *flags, TOKEN="s3cret")

    def status(self, job: str = "last") -> Any:
        done = self.jobkit("status", job, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def points(self, job: str = "last") -> list[tuple[str, str | None]]:
        return [(task["state"], task["reason"]) for task in self.status(job)["tasks"]]


@pytest.fixture
def desk(cluster: Slurm, jobkit_home: Path, tmp_path: Path) -> Desk:
    return Desk(cluster, tmp_path)


def python(program: str, *words: str) -> str:
    return json.dumps([sys.executable, "-c", program, *words])


def test_points_that_run_at_once_are_jobs_of_their_own(desk: Desk, tmp_path: Path) -> None:
    run = python(MEETS, str(tmp_path), "${{ sweep.p }}")
    lines = (f"run: {run}", "nodes: 2", "ranks_per_node: 2", "backend: ring", "sweep: {p: [0, 1, 2]}")
    more = ("env: {P: 'p ${{ sweep.p }}'}", "parallel: 3")
    done = desk.submit(*lines, *more, flags=("--id", "s", "--follow", "--junit", "report.xml"))
    assert done.returncode == 5, done.stderr
    for point in range(3):
        assert done.stdout.count(f"{point} {4 * 10.0**point} p {point}\n") == 4
    logs = desk.jobkit("logs", "s").stdout.splitlines()
    expected = [f"[{p}/{r}] {p} {4 * 10.0**p} p {p}" for p in range(3) for r in range(4)]
    assert sorted(logs) == expected
    assert len(desk.jobkit("logs", "s/2").stdout.splitlines()) == 4
    assert [state for state, _ in desk.points("s")] == ["succeeded", "failed", "succeeded"]
    point = desk.status("s/1")
    assert (point["exit"]["status"], point["exit"]["rank"]) == (5, 2)
    assert desk.status(f"slurm:{point['scheduler_id']}")["id"] == "s/1"
    assert [desk.jobkit("wait", job).returncode for job in ("s", "s/0", "s/1")] == [5, 0, 5]
    report = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert (report.get("tests"), report.get("failures")) == ("3", "1")
    assert desk.submit("run: 'true'", "backend: none", "after: [s/2]", flags=("--wait",)).returncode == 0
    refused = desk.submit("run: 'true'", "after: [s]")
    assert refused.returncode == 125
    assert "s has ended as failed" in refused.stderr


def test_points_are_cancelled_alone_and_together(
    desk: Desk, wait: Callable[..., Any], jobkit_home: Path
) -> None:
    lines = (f"run: {SLEEPS}", "backend: none", "sweep: {p: [0, 1, 2, 3]}", "secrets: [TOKEN]")
    assert desk.submit(*lines, flags=("--id", "s")).returncode == 0
    assert wait(lambda: desk.points("s")[0][0] == "running"), desk.status("s")
    assert desk.submit("run: 'true'", "after: [s/2]", flags=("--id", "after")).returncode == 0
    assert desk.jobkit("cancel", "s/2").returncode == 0
    assert desk.points("s")[2] == ("cancelled", "cancelled by its user")
    assert desk.jobkit("wait", "after").returncode == 143
    assert desk.jobkit("cancel", "s/0").returncode == 0
    assert wait(lambda: desk.points("s")[1][0] == "running"), desk.status("s")
    secrets = jobkit_home / "jobs" / "s" / "secrets"
    assert "s3cret" in secrets.read_text()
    assert desk.jobkit("cancel", "s").returncode == 0
    assert set(desk.points("s")) == {("cancelled", "cancelled by its user")}
    assert desk.status("s")["exit"]["status"] == 143
    assert "s3cret" not in secrets.read_text()


def test_a_job_starts_after_all_points_of_another(
    desk: Desk, wait: Callable[..., Any], tmp_path: Path
) -> None:
    run = json.dumps(["sh", "-c", 'until test -e "$0"; do sleep .1; done', str(tmp_path / "go")])
    lines = (f"run: {run}", "backend: none", "sweep: {p: [0, 1]}", "parallel: 2")
    assert desk.submit(*lines, flags=("--id", "s")).returncode == 0
    assert desk.submit("run: 'true'", "backend: none", "after: [s]", flags=("--id", "t")).returncode == 0
    assert wait(lambda: desk.status("s")["state"] == "running")
    assert desk.status("t")["state"] == "queued"
    (tmp_path / "go").touch()
    assert desk.jobkit("wait", "s", "t").returncode == 0


def test_a_thousand_points_are_one_array_and_more_than_slurm_takes_are_refused(
    desk: Desk, cluster: Slurm, jobkit_home: Path
) -> None:
    values = ", ".join(map(str, range(1000)))
    lines = ("run: echo ${{ sweep.p }}", "env: {P: '${{ sweep.p }}'}", "slurm: {extra: {hold: ''}}")
    assert desk.submit(*lines, f"sweep: {{p: [{values}]}}", flags=("--id", "s")).returncode == 0
    number = desk.status("s")["scheduler_id"]
    rows = cluster.run("squeue", "--array", "--noheader", "--format=%i").stdout.split()
    assert sorted(rows) == sorted(f"{number}_{point}" for point in range(1000))
    assert desk.points("s")[999][0] == "queued"
    assert desk.jobkit("cancel", "s").returncode == 0
    assert {state for state, _ in desk.points("s")} == {"cancelled"}
    done = desk.submit(*lines, f"sweep: {{p: [{values}, 1000, 1001]}}", flags=("--id", "t"))
    assert done.returncode == 125
    assert "(MaxArraySize), got 1002, expected at most 1001" in done.stderr
    assert not (jobkit_home / "jobs" / "t").exists()


def test_setup_runs_once_on_each_node_ahead_of_the_ranks(desk: Desk, tmp_path: Path) -> None:
    lines = ("nodes: 2", "ranks_per_node: 2", "cpus_per_rank: 3", "gpus_per_rank: 1", "memory: 1G")
    setup = f"setup: ['echo once >> {tmp_path}/$SLURMD_NODENAME', 'export MARK=$SLURMD_NODENAME']"
    network = "network: {subnet: 10.77.0.0/24, ports: 21000-21099}"
    done = desk.submit(f"run: {python(FINDS)}", "backend: ring", *lines, setup, network, flags=("--wait",))
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / node).read_text() for node in NODES[:2]] == ["once\n"] * 2
    found = [json.loads(desk.jobkit("logs", "last", "--rank", str(rank)).stdout) for rank in range(4)]
    assert all(one["MARK"] == one["SLURMD_NODENAME"] for one in found)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == ["0", "1", "0", "1"]
    assert {(one["SLURM_CPUS_PER_TASK"], one["SLURM_MEM_PER_NODE"]) for one in found} == {("3", "1024")}
    assert {21000 <= int(one["MASTER_PORT"]) < 21100 for one in found} == {True}


def test_a_setup_that_fails_on_a_node_starts_no_rank(desk: Desk) -> None:
    lines = ("nodes: 2", "ranks_per_node: 2", "backend: none", "sweep: {p: [0]}")
    setup = f"setup: ['true', 'test $SLURMD_NODENAME != {NODES[1]}']"
    done = desk.submit("run: echo started", *lines, setup, flags=("--wait",))
    assert done.returncode == 125, done.stderr
    point = desk.status("last/0")
    assert (point["state"], point["exit"]["class"]) == ("failed", "could not start")
    assert point["reason"].startswith(f"setup: line 2 failed with status 1 on {NODES[1]}: test ")
    assert desk.jobkit("logs", "last").stdout == ""


def test_ranks_share_gpus_where_they_may(desk: Desk) -> None:
    lines = (f"run: {python(FINDS)}", "backend: ring", "ranks_per_node: 3", "gpus_per_rank: 1")
    more = ("share_gpus: true", "slurm: {extra: {gpus-per-node: 2}}")
    done = desk.submit(*lines, *more, flags=("--wait",))
    assert done.returncode == 0, done.stderr
    found = [json.loads(desk.jobkit("logs", "last", "--rank", str(rank)).stdout) for rank in range(3)]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == ["0", "1", "0"]
