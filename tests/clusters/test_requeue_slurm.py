"""Jobs of a real Slurm that end before they are done: what starts again, and what is told of the rest."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters.slurm import NODES, Slurm

# Runs until a file is there, and says which attempt it is.
WAITS = """
import os, time
print(os.environ['JOBKIT_ATTEMPT'], os.environ['TOKEN'], flush=True)
while not os.path.exists({go!r}):
    time.sleep(0.1)
"""
# Ends well when it is told to end.
STOPS = """
import signal
signal.signal(signal.SIGTERM, lambda *_: exit(0))
print('up', flush=True)
signal.pause()
"""
FAILS = """
import os
print(os.environ['TOKEN'], os.environ['JOBKIT_ATTEMPT'], flush=True)
raise SystemExit(7 if os.environ['JOBKIT_RANK'] == '3' else 0)
"""


class Jobs:
    """Jobs of two nodes and four ranks, submitted from the login host."""

    def __init__(self, cluster: Slurm, folder: Path, home: Path, wait: Callable[..., Any]) -> None:
        self.cluster, self.folder, self.wait_for, self.jobs = cluster, folder, wait, home / "jobs"

    def run(self, *words: str) -> Any:
        environ = {"TOKEN": "s3cret"}
        return self.cluster.run("jobkit", *words, cwd=str(self.folder), check=False, **environ)

    def submit(self, program: str, *lines: str) -> str:
        """Submit a job, and return its id when all ranks have begun."""
        run = f"run: {json.dumps([sys.executable, '-c', program])}"
        return self.submit_spec(run, "nodes: 2", "ranks_per_node: 2", "backend: none", *lines)

    def submit_spec(self, *lines: str) -> str:
        (self.folder / "a.yaml").write_text("\n".join(("executor: slurm", "secrets: [TOKEN]", *lines, "")))
        done = self.run("submit", "a.yaml")
        assert done.returncode == 0, done.stderr
        return str(done.stdout.strip())

    def status(self, job: str) -> Any:
        return json.loads(self.run("status", job, "--json").stdout)

    def until(self, job: str, state: str) -> Any:
        assert self.wait_for(lambda: self.status(job)["state"] == state), self.status(job)
        return self.status(job)

    def until_it_says(self, job: str, words: str, attempt: int = 1) -> None:
        outputs = self.jobs / job / f"attempt-{attempt}"
        assert self.wait_for(lambda: words in "".join(path.read_text() for path in outputs.glob("*.out")))

    def start_now(self, known: Any) -> None:
        """Let a requeued job start, which Slurm delays by two minutes.

        Within a second a node would refuse it as the attempt that was killed.
        """
        number = known["scheduler_id"]
        self.cluster.until("PENDING\n", "squeue", "--noheader", f"--jobs={number}", "--format=%T")
        self.cluster.run("scontrol", "update", f"JobId={number}", "StartTime=now+2seconds")

    def has_secret(self, job: str) -> bool:
        return "s3cret" in (self.jobs / job / "secrets").read_text()


@pytest.fixture
def jobs(cluster: Slurm, tmp_path: Path, jobkit_home: Path, wait: Callable[..., Any]) -> Jobs:
    return Jobs(cluster, tmp_path, jobkit_home, wait)


@pytest.fixture
def partitions(cluster: Slurm) -> Iterator[None]:
    """Partitions whose jobs preempt those of others, and whose jobs have time before they are preempted."""
    cluster.run("scontrol", "create", "PartitionName=high", "Nodes=ALL", "PriorityTier=10", "PreemptMode=OFF")
    cluster.run("scontrol", "create", "PartitionName=gentle", "Nodes=ALL", "GraceTime=60")
    yield
    cluster.clear()
    for name in ("high", "gentle"):
        cluster.run("scontrol", "delete", f"PartitionName={name}")


def preempt(cluster: Slurm) -> None:
    cluster.run(
        *("sbatch", "--partition=high", f"--nodes={len(NODES)}", "--exclusive", "--output=/dev/null"),
        *("--wrap", "true"),
    )


@pytest.mark.usefixtures("partitions")
def test_a_preempted_training_resumes_and_ends_as_one_that_was_not(jobs: Jobs, repository: Path) -> None:
    command = [sys.executable, "-m", "jobkit.native", str(repository / "docs/examples/train_digits.py")]
    command += ["--epochs", "30"]
    run = f"run: {json.dumps([*command, '--resume'])}"
    job = jobs.submit_spec(run, "nodes: 2", "ranks_per_node: 1", "backend: ring", "retries: {preempted: 1}")
    jobs.until_it_says(job, "epoch 1/")
    preempt(jobs.cluster)
    known = jobs.until(job, "requeued")
    assert known["attempt"] == 1
    assert known["reason"].startswith("preempted")
    jobs.start_now(known)
    assert jobs.run("wait", job).returncode == 0
    assert (jobs.status(job)["state"], jobs.status(job)["attempt"]) == ("succeeded", 2)
    said = [(jobs.jobs / job / f"attempt-{k}" / "rank-0.out").read_text() for k in (1, 2)]
    epochs = [re.findall(r"^epoch (\d+)/", text, re.MULTILINE) for text in said]
    assert [*epochs[0], *epochs[1]] == [str(epoch) for epoch in range(1, 31)]
    assert f"going on with epoch {epochs[1][0]} after " in said[1]
    alone = jobs.cluster.run(*command).stdout
    assert said[1].splitlines()[-1] == alone.splitlines()[-1]
    assert not jobs.has_secret(job)


@pytest.mark.usefixtures("partitions")
def test_what_ends_by_itself_before_it_is_preempted_starts_again_until_it_is_cancelled(jobs: Jobs) -> None:
    job = jobs.submit(STOPS, "retries: {preempted: 1}", "slurm: {partition: gentle}")
    jobs.until_it_says(job, "up\nup\n")
    preempt(jobs.cluster)
    assert jobs.until(job, "requeued")["reason"].startswith("preempted")
    assert jobs.has_secret(job)
    assert jobs.run("cancel", job).returncode == 0
    assert jobs.run("wait", job).returncode == 143
    assert jobs.status(job)["state"] == "cancelled"
    assert not jobs.has_secret(job)


def test_a_failure_is_told_when_its_retries_are_spent(jobs: Jobs) -> None:
    job = jobs.submit(FAILS, "retries: {failed: 1}")
    known = jobs.until(job, "requeued")
    assert known["reason"].startswith(f"rank 3 on {NODES[1]}: exit 7")
    assert jobs.has_secret(job)
    jobs.start_now(known)
    assert jobs.run("wait", job).returncode == 7
    known = jobs.status(job)
    assert (known["state"], known["attempt"], known["exit"]["rank"]) == ("failed", 2, 3)
    outputs = [jobs.jobs / job / f"attempt-{attempt}" / "rank-3.out" for attempt in (1, 2)]
    assert [path.read_text() for path in outputs] == ["s3cret 1\n", "s3cret 2\n"]
    assert not jobs.has_secret(job)


def test_a_job_whose_node_failed_starts_again(jobs: Jobs, tmp_path: Path) -> None:
    go = tmp_path / "go"
    job = jobs.submit(WAITS.format(go=str(go)), "retries: {node_failure: 1}")
    jobs.until_it_says(job, "1 s3cret")
    jobs.cluster.run("scontrol", "update", f"NodeName={NODES[1]}", "State=DOWN", "Reason=test")
    try:
        known = jobs.until(job, "requeued")
        go.touch()
        jobs.start_now(known)
        assert jobs.run("wait", job).returncode == 0
        assert (jobs.status(job)["state"], jobs.status(job)["attempt"]) == ("succeeded", 2)
    finally:
        jobs.cluster.run("scontrol", "update", f"NodeName={NODES[1]}", "State=RESUME", check=False)
        jobs.cluster.until("idle\n", "sinfo", "--noheader", "--Node", f"--nodes={NODES[1]}", "--format=%T")


def test_a_job_goes_on_without_its_nodes_daemon_and_without_its_submitter(jobs: Jobs, tmp_path: Path) -> None:
    go, node = tmp_path / "go", NODES[1]
    program = json.dumps([sys.executable, "-c", WAITS.format(go=str(go))])
    lines = ("executor: slurm", "secrets: [TOKEN]", "nodes: 2", "backend: none", f"run: {program}", "")
    (tmp_path / "a.yaml").write_text("\n".join(lines))
    is_running = f"test -s {jobs.jobs}/a/attempt-1/rank-1.out"
    script = (
        f"jobkit submit a.yaml --id a --wait & until {is_running}; do sleep .1; done; kill -9 $!; wait $!"
    )
    assert (
        jobs.cluster.run("sh", "-c", script, cwd=str(tmp_path), check=False, TOKEN="s3cret").returncode == 137
    )
    jobs.cluster.kill_node(node)
    try:
        jobs.until("a", "running")
        go.touch()
        assert jobs.run("wait", "a").returncode == 0
        assert jobs.status("a")["state"] == "succeeded"
    finally:
        go.touch()
        jobs.cluster.start_node(node)
