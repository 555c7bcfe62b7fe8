"""Write the hostfile that `jobkit launch` and mlx.launch read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobkit.hosts import ethernet
from jobkit.hosts.addresses import Pair
from jobkit.hosts.choice import JACCL, RING, Choice
from jobkit.hosts.model import Cable, Host

Devices = str | tuple[str, ...] | None


@dataclass(frozen=True)
class Row:
    """One host.

    Attributes:
        ssh: Its name.
        ips: Where it listens: for ring, on every cable to the host before it.
        rdma: The devices that lead to each host; () for ring.
    """

    ssh: str
    ips: tuple[str, ...]
    rdma: tuple[Devices, ...] = ()


def rows(choice: Choice, addresses: Mapping[Cable, Pair]) -> tuple[Row, ...]:
    """Return the rows of a hostfile, in rank order.

    Args:
        choice: What to run with.
        addresses: Of each cable, for a ring.
    """
    if choice.backend == RING:
        return _ring(choice, addresses)
    reached = ethernet.choose(choice.topology.hosts).addresses
    return tuple(
        Row(
            choice.topology.hosts[host].name,
            reached[host],
            tuple(_devices(choice, rank, other) for other in range(len(choice.order))),
        )
        for rank, host in enumerate(choice.order)
    )


def ethernet_rows(hosts: tuple[Host, ...], addresses: tuple[tuple[str, ...], ...]) -> tuple[Row, ...]:
    """Return rows that lead over Ethernet or Wi-Fi, in the order of the hosts."""
    return tuple(Row(host.name, own) for host, own in zip(hosts, addresses, strict=True))


def read(path: str) -> tuple[Row, ...]:
    """Return the rows of a hostfile of either shape that `jobkit launch` has read before."""
    content = json.loads(Path(path).read_text())
    rows = content["hosts"] if isinstance(content, dict) else content
    return tuple(Row(row["ssh"], tuple(row.get("ips") or ()), _frozen(row.get("rdma") or ())) for row in rows)


def _frozen(devices: Iterable[Any]) -> tuple[Devices, ...]:
    return tuple(tuple(own) if isinstance(own, list) else own for own in devices)


def devices(row: Row) -> tuple[str, ...]:
    """Return the names of a host's devices."""
    found = [own if isinstance(own, tuple) else (own,) for own in row.rdma if own]
    return tuple(dict.fromkeys(name for own in found for name in own))


def to_json(rows: tuple[Row, ...], backend: str, envs: tuple[str, ...] = ()) -> str:
    """Return the text of a hostfile, in mlx.distributed_config's shape."""
    content = {"backend": backend, "envs": list(envs), "hosts": [asdict(row) for row in rows]}
    return json.dumps(content, indent=4) + "\n"


def _ring(choice: Choice, addresses: Mapping[Cable, Pair]) -> tuple[Row, ...]:
    """Return rows whose addresses are those that the host before connects to."""
    found = []
    for rank, host in enumerate(choice.order):
        cables = choice.topology.between(host, choice.order[rank - 1])[: choice.width]
        ips = tuple(addresses[cable][cable.ends.index(cable.end(host))] for cable in cables)
        found.append(Row(choice.topology.hosts[host].name, ips))
    return tuple(found)


def _devices(choice: Choice, rank: int, other: int) -> Devices:
    """Return what leads from a rank to another: parallel cables are in the same order at both."""
    apart = (other - rank) % len(choice.order)
    if apart == 0 or (choice.backend != JACCL and apart not in (1, len(choice.order) - 1)):
        return None
    near, far = choice.order[rank], choice.order[other]
    cables = choice.topology.between(near, far)[: choice.width]
    devices = tuple(choice.topology.hosts[near].device(cable.end(near).interface) for cable in cables)
    return devices[0] if len(devices) == 1 else devices
