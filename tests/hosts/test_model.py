"""Hosts, ports and cables as plain data."""

from __future__ import annotations

from collections.abc import Callable

from jobkit.hosts.model import Cable, End, Topology


def test_a_cable_has_an_end_at_each_of_its_hosts() -> None:
    cable = Cable((End(1, "en2"), End(3, "en5")))

    assert cable.end(1) == cable.far_end(3) == End(1, "en2")
    assert cable.end(3) == cable.far_end(1) == End(3, "en5")


def test_the_cables_of_a_pair_are_the_same_from_both_hosts(wired: Callable[..., Topology]) -> None:
    topology = wired(3, [(0, 1), (0, 1), (1, 2)])

    assert topology.between(0, 1) == topology.between(1, 0) == topology.cables[:2]
    assert topology.between(0, 2) == ()
