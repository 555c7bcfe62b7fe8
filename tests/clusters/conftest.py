"""Clusters that start when a test first asks for one, and end with the session."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import guests, hosts, mpi, sge, slurm, sshd
from clusters.site import Launch, Site


@pytest.fixture(scope="session")
def _hosts_can_be_had() -> None:
    if reason := hosts.why_not():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def _guests_can_be_had() -> None:
    if reason := guests.why_not():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def _slurm(_hosts_can_be_had: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Slurm]:
    if reason := slurm.why_not():
        pytest.skip(reason)
    running = slurm.Slurm(tmp_path_factory.mktemp("slurm"))
    yield running
    running.end()


@pytest.fixture
def cluster(_slurm: slurm.Slurm) -> Iterator[slurm.Slurm]:
    """Slurm, three nodes; what a test leaves in its queue is cancelled."""
    yield _slurm
    _slurm.clear()


@pytest.fixture(params=mpi.NAMES)
def mpirun(request: pytest.FixtureRequest) -> mpi.Mpi:
    """Each launcher of MPI."""
    found = mpi.find(request.param)
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="session")
def grid(_hosts_can_be_had: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sge.GridEngine]:
    """Grid Engine, two nodes."""
    if reason := sge.why_not():
        pytest.skip(reason)
    running = sge.GridEngine(tmp_path_factory.mktemp("sge"))
    yield running
    running.end()


@pytest.fixture(scope="module")
def _site(_hosts_can_be_had: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if reason := sshd.why_not():
        pytest.skip(reason)
    found = Site(tmp_path_factory.mktemp("site"))
    yield found
    found.hosts.end()


@pytest.fixture
def site(_site: Site, wait: Callable[..., Any]) -> Iterator[Site]:
    """The hosts, on which a test may leave nothing."""
    yield _site
    _site.trust(*_site.servers)
    wait(lambda: not _site.left())
    assert _site.left() == []


@pytest.fixture
def launch(site: Site, tmp_path: Path) -> Launch:
    """Run `jobkit launch` on the laptop to its end."""

    def run(
        *words: str, stdin: str = "", cwd: Path = tmp_path, **popen: Any
    ) -> subprocess.CompletedProcess[str]:
        process = site.launch(*words, cwd=cwd, **popen)
        out, error = process.communicate(stdin, timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    return run
