"""The commands that give the cables' interfaces their addresses, and those that take them away again."""

from __future__ import annotations

from jobkit.hosts.addresses import NETMASK, Pair
from jobkit.hosts.model import Topology


def commands(topology: Topology, addresses: tuple[Pair, ...], host: int) -> tuple[str, ...]:
    """Return what to run on a host; running it twice changes nothing more.

    Args:
        topology: Hosts and cables.
        addresses: Of each cable.
        host: Its index.
    """
    bridge = topology.hosts[host].bridge
    found = [f"sudo ifconfig {bridge} down"] if bridge else []
    for interface, own, peer in _links(topology, addresses, host):
        found.append(f"sudo ifconfig {interface} inet {own} netmask {NETMASK}")
        found.append(f"sudo route change {peer} -interface {interface}")
    return tuple(found)


def undo(topology: Topology, addresses: tuple[Pair, ...], host: int) -> tuple[str, ...]:
    """Return what takes back what `commands` did on a host."""
    bridge = topology.hosts[host].bridge
    links = _links(topology, addresses, host)
    found = [f"sudo ifconfig {interface} inet {own} delete" for interface, own, _ in links]
    return (*found, *([f"sudo ifconfig {bridge} up"] if bridge else []))


def _links(topology: Topology, addresses: tuple[Pair, ...], host: int) -> list[tuple[str, str, str]]:
    """Return interface, own address and the other end's for each cable of a host."""
    found = []
    for cable, (near, far) in zip(topology.cables, addresses, strict=True):
        if host == cable.ends[0].host:
            found.append((cable.ends[0].interface, near, far))
        elif host == cable.ends[1].host:
            found.append((cable.ends[1].interface, far, near))
    return found
