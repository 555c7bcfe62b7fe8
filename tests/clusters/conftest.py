"""Clusters that start when a test first asks for one, and end with the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clusters import hosts, slurm


@pytest.fixture(scope="session")
def _hosts_can_be_had() -> None:
    if reason := hosts.why_not():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster(_hosts_can_be_had: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Slurm]:
    """Slurm, three nodes."""
    if reason := slurm.why_not():
        pytest.skip(reason)
    running = slurm.Slurm(tmp_path_factory.mktemp("slurm"))
    yield running
    running.end()
