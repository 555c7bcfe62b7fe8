"""What a job of Slurm's comes to where something around it is not as it should be."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from clusters.slurm import Slurm

Submit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def submit(cluster: Slurm, jobkit_home: Path, tmp_path: Path) -> Submit:
    """Submit a spec from the login host, and wait."""

    def run(*lines: str) -> subprocess.CompletedProcess[str]:
        head = ("executor: slurm", "run: 'true'", "backend: none", "time: 1m")
        (tmp_path / "a.yaml").write_text("\n".join((*head, *lines)) + "\n")
        return cluster.run("jobkit", "submit", "a.yaml", "--wait", cwd=str(tmp_path), check=False)

    return run


def test_a_run_folder_that_the_nodes_do_not_share_is_told(submit: Submit) -> None:
    # /dev/shm is each host's own.
    done = submit("run_dir: /dev/shm/runs")
    assert done.returncode == 125, done.stderr
    assert "no node has written anything there" in done.stderr


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("python: /no/such/python", 127, "/no/such/python: No such file or directory"),
        ("slurm: {srun: {no-such-option: x}}", 255, "no-such-option"),
    ],
)
def test_what_the_script_could_not_start_is_told_in_its_words(
    line: str, status: int, words: str, submit: Submit
) -> None:
    done = submit(line)
    assert done.returncode == status, done.stderr
    assert "last lines of slurm-" in done.stderr
    assert words in done.stderr


def test_a_run_folder_that_one_node_cannot_see_is_no_success(submit: Submit, cluster: Slurm) -> None:
    for host in ("login", "gpu-a08"):
        cluster.hosts.run(host, "mkdir", "--parents", "/dev/shm/runs")
    for host in ("login", "gpu-a08"):
        cluster.hosts.run(host, "mount", "--bind", str(_shared(cluster)), "/dev/shm/runs")
    try:
        nodes = "slurm: {extra: {nodelist: 'gpu-a08,gpu-a09'}}"
        done = submit("run_dir: /dev/shm/runs", "nodes: 2", nodes)
        assert done.returncode == 125, done.stderr
        assert "rank 1 was not started" in done.stderr
    finally:
        for host in ("login", "gpu-a08"):
            cluster.hosts.run(host, "umount", "/dev/shm/runs")


def _shared(cluster: Slurm) -> Path:
    folder = cluster.folder / "shared"
    folder.mkdir(exist_ok=True)
    return folder
