"""The cluster that `make slurm` gives to people."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clusters import slurm
from clusters.slurm import NODES


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: Slurm's steps have sockets in it, whose paths have at most 108 letters."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def shell(
    _hosts_can_be_had: None, repository: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[subprocess.Popen[str]]:
    """A shell that reads a script; its files are in the folder."""
    if reason := slurm.why_not():
        pytest.skip(reason)
    monkeypatch.setenv("PYTHONPATH", str(repository / "tests"))
    monkeypatch.setenv("TMPDIR", str(folder))
    command = [sys.executable, "-m", "clusters.shell"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=repository,
    ) as process:
        yield process
        process.kill()


def test_a_script_finds_nodes_and_jobkit_and_nothing_stays(
    shell: subprocess.Popen[str], folder: Path
) -> None:
    script = "srun --nodes=2 --input=none hostname | sort; which jobkit; test -e slurm/ring.sbatch && exit 3"
    out, err = shell.communicate(script, timeout=60)
    assert out.split() == [*NODES[:2], f"{Path(sys.executable).parent}/jobkit"], err
    assert shell.returncode == 3
    assert list(folder.iterdir()) == []


def test_one_that_is_ended_takes_its_cluster_along(
    shell: subprocess.Popen[str], folder: Path, wait: Callable[..., bool], alive: Callable[[int], bool]
) -> None:
    assert shell.stdin is not None
    assert shell.stdout is not None
    shell.stdin.write("echo ready; sleep 600\n")
    shell.stdin.flush()
    assert shell.stdout.readline() == "ready\n"
    started = [int(pid) for pid in Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()]
    shell.send_signal(signal.SIGTERM)
    assert shell.wait(60) == 128 + signal.SIGTERM
    assert list(folder.iterdir()) == []
    assert wait(lambda: not any(map(alive, started))), started
