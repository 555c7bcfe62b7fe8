"""Search the widest ring through all hosts, else the longest one.

Whether there is a ring through all is a question whose worst cases take exponential time. Which hosts were
visited and which was the last one decides what can follow, so that nothing is searched twice from there; and
going first where fewest ways lead on finds a ring at once in any layout that somebody meant to be one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobkit.hosts.model import Topology

Sets = Sequence[int]  # neighbours[i] has bit j where hosts i and j are cabled


@dataclass(frozen=True)
class Ring:
    """What a search found.

    Attributes:
        hosts: In ring order, from the lowest index; () where no two hosts are cabled.
        width: Cables that every two neighbours have.
        decided: Whether the search ended: else a longer or wider ring may exist.
    """

    hosts: tuple[int, ...] = ()
    width: int = 0
    decided: bool = True


def find(topology: Topology, may_go_on: Callable[[], bool]) -> Ring:
    """Return the widest ring through all hosts; without one, the longest ring.

    Two hosts with a cable are a ring.

    Args:
        topology: Hosts and cables.
        may_go_on: Asked at every step; the search ends undecided when it says no.
    """
    counts = cable_counts(topology)
    size = len(topology.hosts)
    best = Ring()
    for width in sorted({count for row in counts for count in row if count}):
        hosts, decided = longest(neighbours(counts, width), may_go_on)
        if best.hosts and len(hosts) < size:
            return Ring(best.hosts, best.width, decided)
        best = Ring(hosts, _width(counts, hosts), decided)
        if len(hosts) < size or not decided:
            return best
    return best


def find_open_end(topology: Topology, may_go_on: Callable[[], bool]) -> tuple[int, int] | None:
    """Return two hosts that a cable between them would make the ends of a ring through all, if there are.

    A path through all hosts is a ring through them and one more that is cabled to everybody.
    """
    size = len(topology.hosts)
    sets = neighbours(cable_counts(topology), 1)
    hosts, _ = longest([*(own | 1 << size for own in sets), (1 << size) - 1], may_go_on)
    if len(hosts) <= size:
        return None
    place = hosts.index(size)
    one, other = hosts[place - 1], hosts[(place + 1) % len(hosts)]
    return min(one, other), max(one, other)


def cable_counts(topology: Topology) -> list[list[int]]:
    """Return the number of cables between each two hosts."""
    size = len(topology.hosts)
    counts = [[0] * size for _ in range(size)]
    for cable in topology.cables:
        one, other = (end.host for end in cable.ends)
        counts[one][other] += 1
        counts[other][one] += 1
    return counts


def neighbours(counts: Sequence[Sequence[int]], width: int) -> list[int]:
    """Return for each host the set of those that it has so many cables to."""
    return [sum(1 << other for other, count in enumerate(row) if count >= width) for row in counts]


def longest(sets: Sets, may_go_on: Callable[[], bool]) -> tuple[tuple[int, ...], bool]:
    """Return the longest ring, from its lowest host, and whether the search ended."""
    best: tuple[int, ...] = next(((one, members(own)[0]) for one, own in enumerate(sets) if own), ())
    for first in range(len(sets)):
        if not may_go_on():
            return best, False
        allowed = _around(sets, first)
        if allowed.bit_count() <= len(best):
            continue
        found, decided = _longest_from(first, sets, allowed, len(best), may_go_on)
        best = found or best
        if not decided or len(best) == len(sets):
            return best, decided
    return best, True


def _around(sets: Sets, first: int) -> int:
    """Return the hosts from a host on that could be with it in a ring of three or more.

    A host that every way to leads through one other cannot, and one with a single neighbour left cannot.
    """
    found = _core(sets, _reachable(sets, first, (1 << len(sets)) - (1 << first)))
    for cut in members(found & ~(1 << first)):
        found &= _reachable(sets, first, found & ~(1 << cut)) | 1 << cut
    found = _core(sets, found)
    return found if found >> first & 1 else 0


def _core(sets: Sets, hosts: int) -> int:
    """Return the hosts that are left when those with a single neighbour, or none, are taken away in turn."""
    left, before = hosts, 0
    while left != before:
        before = left
        left = sum(1 << one for one in members(left) if (sets[one] & before).bit_count() > 1)
    return left


def _longest_from(
    first: int, sets: Sets, allowed: int, at_least: int, may_go_on: Callable[[], bool]
) -> tuple[tuple[int, ...], bool]:
    """Return the longest ring through a host and others that are allowed, if longer than `at_least`."""
    best: tuple[int, ...] = ()
    seen: set[tuple[int, int]] = set()
    path, free = [first], allowed & ~(1 << first)
    ways = [_onward(sets, first, free)]
    while path:
        if not ways[-1]:
            ways.pop()
            free |= 1 << path.pop()
            continue
        host = ways[-1].pop()
        rest = free & ~(1 << host)
        if (rest, host) in seen:
            continue
        if not may_go_on():
            return best, False
        seen.add((rest, host))
        path.append(host)
        free = rest
        longer = max(len(best), at_least)
        if sets[host] >> first & 1 and len(path) > longer:
            best, longer = tuple(path), len(path)
            if not free:
                return best, True
        hopeful = len(path) + _at_most(sets, first, host, free) > longer
        ways.append(_onward(sets, host, free) if hopeful and free & sets[host] else [])
    return best, True


def _at_most(sets: Sets, first: int, last: int, free: int) -> int:
    """Return how many free hosts a ring may still have: those within reach that have two neighbours."""
    within = _reachable(sets, last, free | 1 << last)
    ring = within | 1 << first
    return sum((sets[one] & ring).bit_count() > 1 for one in members(within & free))


def _onward(sets: Sets, host: int, free: int) -> list[int]:
    """Return the free neighbours, what to try first last: the fewest ways on, then the lowest."""
    return sorted(members(sets[host] & free), key=lambda one: ((sets[one] & free).bit_count(), one))[::-1]


def _reachable(sets: Sets, host: int, allowed: int) -> int:
    found = new = 1 << host
    while new:
        reached = 0
        for one in members(new):
            reached |= sets[one]
        new = reached & allowed & ~found
        found |= new
    return found


def members(hosts: int) -> list[int]:
    """Return the hosts of a set, the lowest first."""
    found = []
    while hosts:
        found.append((hosts & -hosts).bit_length() - 1)
        hosts &= hosts - 1
    return found


def _width(counts: Sequence[Sequence[int]], hosts: tuple[int, ...]) -> int:
    return min((counts[host][hosts[place - 1]] for place, host in enumerate(hosts)), default=0)
