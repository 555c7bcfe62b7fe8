"""Choose the backend that the cables make possible; say what is missing where they make none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations

from jobkit.hosts import rings
from jobkit.hosts.model import LINUX, Host, Topology

RING, JACCL, JACCL_RING = "ring", "jaccl", "jaccl-ring"
BACKENDS = (RING, JACCL, JACCL_RING)
FASTEST_FIRST = (JACCL, JACCL_RING, RING)
WITH_RDMA = (JACCL, JACCL_RING)
_WITH_RDMA_GBPS = 80  # of Thunderbolt 5
_HINT_STEPS = 2000  # of a search for what would help, which must not take the time of one for a ring
_GAPS = {LINUX: "no network of active RDMA devices"}
_SHOWN = 8  # pairs, or hosts, that a message names


Search = Callable[[Topology], rings.Ring]


@dataclass(frozen=True)
class Choice:
    """What to run with.

    Attributes:
        backend: "" where the cables make none possible.
        topology: With those cables alone that the backend can use.
        order: The hosts in rank order.
        width: Cables to use between two hosts.
        decided: Whether a wider ring was ruled out.
        problems: Why it is not another backend.
    """

    backend: str
    topology: Topology
    order: tuple[int, ...] = ()
    width: int = 0
    decided: bool = True
    problems: tuple[str, ...] = ()


def choose(
    topology: Topology, wanted: str, may_go_on: Callable[[], bool], among: tuple[str, ...] = FASTEST_FIRST
) -> Choice:
    """Return the backend wanted, or the first that is possible.

    Args:
        topology: Hosts and cables.
        wanted: A backend; "" for any.
        may_go_on: What bounds the search for rings.
        among: The backends to try where none is wanted.
    """
    if len(topology.hosts) < 2:
        return Choice("", topology, problems=("one host alone has no cables to others",))
    # Where every cable has RDMA two backends ask for the same ring.
    search = cache(lambda usable: rings.find(usable, may_go_on))
    problems: tuple[str, ...] = ()
    for backend in (wanted,) if wanted else among:
        found = _try(topology, backend, search)
        if not found.problems:
            return replace(found, problems=problems)
        problems += tuple(f"{backend}: {problem}" for problem in found.problems)
    return Choice("", topology, problems=problems)


def _try(topology: Topology, backend: str, search: Search) -> Choice:
    usable = topology if backend == RING else with_rdma(topology)
    missing = () if backend == RING else tuple(_without_rdma(topology))
    if missing:
        return Choice(backend, usable, problems=missing)
    gap = _GAPS.get(topology.hosts[0].system, "no cable")
    if usable.cables != topology.cables:
        gap = "no cable with RDMA at both ends"
    found = _mesh(usable, gap) if backend == JACCL else _ring(usable, backend, gap, search)
    if not found.problems and backend != RING and not topology.hosts[found.order[0]].addresses:
        name = topology.hosts[found.order[0]].name
        wrong = f"{name} has no Ethernet or Wi-Fi address, and all hosts must reach that of rank 0"
        return replace(found, problems=(wrong,))
    return found


def with_rdma(topology: Topology) -> Topology:
    """Return the topology with those cables alone that have an RDMA device at both ends."""
    usable = tuple(
        cable
        for cable in topology.cables
        if all(topology.hosts[end.host].device(end.interface) for end in cable.ends)
    )
    return replace(topology, cables=usable)


def _without_rdma(topology: Topology) -> Iterator[str]:
    hosts = [host for host in topology.hosts if not host.rdma]
    for remedy in dict.fromkeys(map(_remedy, hosts)):
        names = [host.name for host in hosts if _remedy(host) == remedy]
        yield f"no RDMA device on {shortened(names)}: {remedy}"


def _remedy(host: Host) -> str:
    if host.system == LINUX:
        return "load the adapter's driver, or make one: sudo rdma link add rxe0 type rxe netdev eth0"
    if not host.ports:
        return "there is no Thunderbolt port"
    if _fastest(host) in range(1, _WITH_RDMA_GBPS):
        return f"its ports run at {_fastest(host)} Gb/s, and RDMA needs Thunderbolt 5"
    return "run `rdma_ctl enable` in macOS Recovery (Thunderbolt 5)"


def _fastest(host: Host) -> int:
    """Return the speed of a Mac's fastest port in Gb/s; 0 where none is known."""
    speeds = [re.match(r"\d+", port.speed) for port in host.ports]
    return max((int(speed.group()) for speed in speeds if speed), default=0)


def _mesh(topology: Topology, gap: str) -> Choice:
    counts = rings.cable_counts(topology)
    width = min(counts[one][other] for one, other in combinations(range(len(counts)), 2))
    problems = () if width else (f"no mesh of cables: {_pairs(topology, missing_pairs(topology), gap)}",)
    return Choice(JACCL, topology, tuple(range(len(counts))), width, problems=problems)


def missing_pairs(topology: Topology) -> list[tuple[int, int]]:
    """Return the pairs of hosts without a cable between them."""
    counts = rings.cable_counts(topology)
    return [(one, other) for one, other in combinations(range(len(counts)), 2) if not counts[one][other]]


def _pairs(topology: Topology, pairs: list[tuple[int, int]], gap: str) -> str:
    """Return 'a and b have no cable between them' for each of some pairs."""
    names = [host.name for host in topology.hosts]
    return shortened(
        [f"{names[one]} and {names[other]} have {gap} between them" for one, other in pairs], "; "
    )


def shortened(words: list[str], separator: str = ", ") -> str:
    """Return the first words, and how many more there are."""
    more = [f"and {len(words) - _SHOWN} more"] if len(words) > _SHOWN else []
    return separator.join(words[:_SHOWN] + more)


def _ring(topology: Topology, backend: str, gap: str, search: Search) -> Choice:
    found = search(topology)
    size = len(topology.hosts)
    whole = len(found.hosts) == size
    problems = () if whole else (_no_ring(topology, found, gap),)
    return Choice(backend, topology, found.hosts, found.width, found.decided, problems)


def _no_ring(topology: Topology, found: rings.Ring, gap: str) -> str:
    size = len(topology.hosts)
    names = [topology.hosts[index].name for index in found.hosts]
    longest = f"the longest ring found has {len(names)}: {shortened(names)}" if names else "no host is cabled"
    if not found.decided:
        return f"the search for a ring through all {size} hosts ended undecided; {longest}"
    steps = iter(range(_HINT_STEPS))
    ends = rings.find_open_end(topology, lambda: next(steps, None) is not None)
    closing = f" ({_pairs(topology, [ends], gap)})" if ends else ""
    return f"no ring through all {size} hosts{closing}; {longest}"
