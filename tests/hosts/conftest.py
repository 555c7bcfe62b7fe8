"""Layouts of made-up Macs, recorded, and topologies of any shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from jobkit.hosts import cables, recording
from jobkit.hosts.model import Cable, Device, End, Host, Topology

MACS = Path(__file__).resolve().parent.parent / "data" / "macs"


@pytest.fixture
def layout() -> Callable[..., Topology]:
    """Read the hosts and cables of a recorded layout."""
    return lambda name, *hosts: cables.connect(recording.read(str(MACS / name), hosts))


@pytest.fixture
def wired() -> Callable[..., Topology]:
    """Make a topology of so many hosts with RDMA; an edge that is named twice has two cables."""

    def make(size: int, edges: Iterable[tuple[int, int]]) -> Topology:
        used = [0] * size
        found = []
        for one, other in sorted(tuple(sorted(edge)) for edge in edges):
            found.append(Cable((End(one, f"en{used[one] + 2}"), End(other, f"en{used[other] + 2}"))))
            used[one] += 1
            used[other] += 1
        devices = tuple(Device(f"rdma_en{n + 2}", f"en{n + 2}") for n in range(size))
        hosts = tuple(Host(f"h{i}", addresses=(f"10.0.0.{i + 1}",), rdma=devices) for i in range(size))
        return Topology(hosts, tuple(found))

    return make
