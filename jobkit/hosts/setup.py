"""The commands that give the cables' interfaces their addresses; those that take them away, or keep them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from jobkit.hosts.addresses import NETMASK, Pair
from jobkit.hosts.model import Cable, End, Topology

_MASK = "0xfffffffc"  # NETMASK, as ifconfig says it
_SERVICE = "jobkit "  # and the interface: what a network service is called


@dataclass(frozen=True)
class Step:
    """One change of a host: commands in the language of /bin/sh.

    Attributes:
        is_done: Succeeds where there is nothing to change.
        before: Prints what `again` needs to bring back what was there; nothing where nothing was.
        do: Makes the change.
        undo: Takes it back.
        again: Brings back what was there before, given what `before` printed.
    """

    is_done: str
    do: str
    undo: str
    before: str = ""
    again: str = ""


def steps(topology: Topology, addresses: tuple[Pair, ...], host: int) -> tuple[Step, ...]:
    """Return the changes of a host.

    Args:
        topology: Hosts and cables.
        addresses: Of each cable.
        host: Its index.
    """
    bridge = topology.hosts[host].bridge
    links = _links(topology, addresses, host)
    found = [_bridge_down(bridge)] if bridge else []
    found += [step for end, own, peer in links for step in (_address(end, own), _route(end, peer))]
    return tuple(found)


def _bridge_down(bridge: str) -> Step:
    return Step(
        is_done=f"! ifconfig {bridge} 2>/dev/null | head -n 1 | grep -q '[<,]UP[,>]'",
        do=f"sudo ifconfig {bridge} down",
        undo=f"sudo ifconfig {bridge} up",
    )


def _address(end: End, own: str) -> Step:
    show = f"ifconfig {end.interface}"
    return Step(
        is_done=f"{show} | grep -q 'inet {own} netmask {_MASK}'",
        before=f"{show} | awk '$1 == \"inet\" {{ print $2, $3, $4; exit }}'",
        do=f"sudo ifconfig {end.interface} inet {own} netmask {NETMASK}",
        undo=f"sudo ifconfig {end.interface} inet {own} delete",
        again=f"sudo ifconfig {end.interface} inet",
    )


def _route(end: End, peer: str) -> Step:
    return Step(
        is_done=f"route -n get {peer} | grep -q 'interface: {end.interface}$'",
        do=f"sudo route change {peer} -interface {end.interface} || "
        f"sudo route add {peer} -interface {end.interface}",
        undo=f"sudo route delete {peer}",
    )


def commands(topology: Topology, addresses: tuple[Pair, ...], host: int) -> tuple[str, ...]:
    """Return what to run on a host; running it twice changes nothing more."""
    return tuple(step.do for step in steps(topology, addresses, host))


def undo(topology: Topology, addresses: tuple[Pair, ...], host: int) -> tuple[str, ...]:
    """Return what takes back what `commands` did on a host; its routes go with the addresses."""
    found = steps(topology, addresses, host)
    return tuple(step.undo for step in reversed(found) if "route" not in step.undo)


def keep(topology: Topology, addresses: tuple[Pair, ...], host: int) -> tuple[str, ...]:
    """Return what makes a host have its addresses after every restart: a network service for each cable."""
    bridge = shlex.quote(topology.hosts[host].bridge_name)
    off = f"sudo networksetup -setnetworkserviceenabled {bridge} off"
    found = [off] if topology.hosts[host].bridge else []
    names = {port.interface: port.name for port in topology.hosts[host].ports}
    for end, own, _ in _links(topology, addresses, host):
        service, port = shlex.quote(_SERVICE + end.interface), shlex.quote(names[end.interface])
        found.append(f"sudo networksetup -createnetworkservice {service} {port}")
        found.append(f"sudo networksetup -setmanual {service} {own} {NETMASK}")
    return tuple(found)


def _links(topology: Topology, addresses: tuple[Pair, ...], host: int) -> list[tuple[End, str, str]]:
    """Return the own end, its address and the other end's for each cable of a host."""
    return [
        (cable.end(host), *(pair if host == cable.ends[0].host else pair[::-1]))
        for cable, pair in zip(topology.cables, addresses, strict=True)
        if _has(cable, host)
    ]


def _has(cable: Cable, host: int) -> bool:
    return any(end.host == host for end in cable.ends)
