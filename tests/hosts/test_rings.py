"""The search for rings."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from jobkit.hosts import rings
from jobkit.hosts.model import Topology
from jobkit.hosts.rings import Ring

STEPS_A_SECOND = 40_000  # of a machine of two shared cores


class Budget:
    """A search may take so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self) -> bool:
        self.steps -= 1
        return self.steps >= 0


def complete(hosts: range) -> list[tuple[int, int]]:
    return list(itertools.combinations(hosts, 2))


def around(size: int) -> list[tuple[int, int]]:
    return [(i, (i + 1) % size) for i in range(size)]


PETERSEN = [*around(5), *((i, i + 5) for i in range(5)), *((5 + i, 5 + (i + 2) % 5) for i in range(5))]


def longest_by_trying(size: int, edges: set[tuple[int, int]]) -> int:
    """Return the length of the longest ring, found from all permutations."""

    def is_ring(hosts: tuple[int, ...]) -> bool:
        return all(
            (hosts[i - 1], hosts[i]) in edges or (hosts[i], hosts[i - 1]) in edges for i in range(len(hosts))
        )

    return max(
        (n for n in range(2, size + 1) for hosts in itertools.permutations(range(size), n) if is_ring(hosts)),
        default=0,
    )


@pytest.mark.parametrize(
    ("size", "edges", "length"),
    [
        (2, [(0, 1)], 2),
        (3, [(0, 1), (1, 2)], 2),
        (4, around(4), 4),
        (16, complete(range(16)), 16),
        (16, complete(range(15)), 15),
        (16, [*complete(range(15)), (14, 15)], 15),
        (16, [*complete(range(9)), *complete(range(8, 16))], 9),
        (16, [*complete(range(8)), *complete(range(8, 16))], 8),
        (10, PETERSEN, 9),
        (16, [*((i, i + 1) for i in range(16) if i % 4 < 3), *((i, i + 4) for i in range(12))], 16),
        (250, around(250), 250),
        (250, complete(range(250)), 250),
        (3, [], 0),
    ],
)
def test_the_longest_ring_is_found_in_less_than_a_second_of_steps(
    size: int, edges: list[tuple[int, int]], length: int, wired: Callable[..., Topology]
) -> None:
    topology = wired(size, edges)
    found = rings.find(topology, Budget(STEPS_A_SECOND))

    assert found.decided
    assert len(found.hosts) == length == len(set(found.hosts))
    counts = rings.cable_counts(topology)
    assert all(counts[host][found.hosts[place - 1]] for place, host in enumerate(found.hosts))


def test_the_longest_ring_of_small_layouts_is_what_trying_everything_finds(
    wired: Callable[..., Topology],
) -> None:
    draw = random.Random(9)
    for _ in range(60):
        size = draw.randint(2, 6)
        edges = {edge for edge in complete(range(size)) if draw.random() < 0.5}
        found = rings.find(wired(size, edges), Budget(10**6))
        assert len(found.hosts) == longest_by_trying(size, edges), sorted(edges)


def test_a_ring_is_in_the_order_of_the_hosts_where_it_can_be(wired: Callable[..., Topology]) -> None:
    assert rings.find(wired(6, complete(range(6))), Budget(100)).hosts == (0, 1, 2, 3, 4, 5)
    assert rings.find(wired(4, around(4)), Budget(100)).hosts == (0, 1, 2, 3)


def test_the_widest_ring_is_chosen(wired: Callable[..., Topology]) -> None:
    doubled = [(0, 2), (2, 1), (1, 3), (3, 0)]

    assert rings.find(wired(4, [*complete(range(4)), *doubled]), Budget(1000)) == Ring((0, 2, 1, 3), 2)
    assert rings.find(wired(4, [*complete(range(4)), *doubled[:3]]), Budget(1000)).width == 1
    assert rings.find(wired(2, [(0, 1)] * 3), Budget(1000)) == Ring((0, 1), 3)


def test_a_search_that_runs_out_says_so_with_the_longest_ring_so_far(wired: Callable[..., Topology]) -> None:
    bipartite = [(i, j) for i in range(12) for j in range(12, 25)]

    found = rings.find(wired(25, bipartite), Budget(5000))

    assert not found.decided
    assert len(found.hosts) == 24


def test_a_search_without_time_takes_none(wired: Callable[..., Topology]) -> None:
    assert rings.find(wired(3, [(0, 1), (0, 2)]), Budget(0)) == Ring((0, 1), 1, decided=False)


def test_a_search_for_a_wider_ring_that_runs_out_keeps_the_one_it_has(wired: Callable[..., Topology]) -> None:
    wide = [(i, j) for i in range(12) for j in range(12, 25)]

    found = rings.find(wired(25, [*complete(range(25)), *wide]), Budget(5000))

    assert (len(found.hosts), found.width, found.decided) == (25, 1, False)


def test_two_hosts_that_would_close_a_ring(wired: Callable[..., Topology]) -> None:
    assert rings.find_open_end(wired(3, [(0, 1), (0, 2)]), Budget(1000)) == (1, 2)
    assert rings.find_open_end(wired(4, [(0, 1), (0, 2), (0, 3)]), Budget(1000)) is None


def test_members_of_a_set() -> None:
    assert rings.members(0b1010_0001) == [0, 5, 7]
