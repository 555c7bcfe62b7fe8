"""The backend that cables make possible, and what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from jobkit.hosts import choice
from jobkit.hosts.model import Device, Port, Topology


def go_on() -> bool:
    return True


@pytest.mark.parametrize(
    ("name", "backend", "order", "width"),
    [
        ("mesh4", "jaccl", (0, 1, 2, 3), 1),
        ("mesh4-broken", "jaccl-ring", (0, 2, 1, 3), 1),
        ("ring4", "jaccl-ring", (0, 1, 2, 3), 1),
        ("pair2-double", "jaccl", (0, 1), 2),
    ],
)
def test_the_fastest_that_the_cables_allow(
    layout: Callable[..., Topology], name: str, backend: str, order: tuple[int, ...], width: int
) -> None:
    found = choice.choose(layout(name), "", go_on)

    assert (found.backend, found.order, found.width, found.decided) == (backend, order, width, True)


def test_without_rdma_a_ring(layout: Callable[..., Topology]) -> None:
    topology = layout("mesh4")
    hosts = (replace(topology.hosts[0], rdma=()), *topology.hosts[1:])

    found = choice.choose(replace(topology, hosts=hosts), "", go_on)

    assert found.backend == "ring"
    assert "jaccl: no RDMA device on m3-ultra-1: run `rdma_ctl enable`" in found.problems[0]


def test_the_pairs_without_a_cable_are_named(layout: Callable[..., Topology]) -> None:
    broken = choice.choose(layout("mesh4-broken"), "jaccl", go_on)

    assert broken.backend == ""
    assert broken.problems == (
        "jaccl: no mesh of cables: m3-ultra-1 and m3-ultra-2 have no cable between them",
    )


def test_what_would_close_a_ring_is_named(layout: Callable[..., Topology]) -> None:
    assert choice.choose(layout("line3"), "ring", go_on).problems == (
        "ring: no ring through all 3 hosts (a1 and a3 have no cable between them); "
        "the longest ring found has 2: a1, a2",
    )


def test_every_backend_that_is_not_possible_says_why(layout: Callable[..., Topology]) -> None:
    found = choice.choose(layout("line3"), "", go_on)

    assert [problem.partition(":")[0] for problem in found.problems] == ["jaccl", "jaccl-ring", "ring"]


def test_a_cable_without_rdma_is_none_for_jaccl_and_said_to_be_there(wired: Callable[..., Topology]) -> None:
    topology = wired(3, [(0, 1), (1, 2), (0, 2)])
    hosts = (*topology.hosts[:2], replace(topology.hosts[2], rdma=(Device("rdma_en2", "en2"),)))

    found = choice.choose(replace(topology, hosts=hosts), "jaccl", go_on)

    assert found.problems == (
        "jaccl: no mesh of cables: h1 and h2 have no cable with RDMA at both ends between them",
    )


def test_rank_0_needs_an_address_for_rdma(wired: Callable[..., Topology]) -> None:
    topology = wired(2, [(0, 1)])
    hosts = tuple(replace(host, addresses=()) for host in topology.hosts)

    found = choice.choose(replace(topology, hosts=hosts), "", go_on)

    assert found.backend == "ring"
    assert found.problems[0].startswith("jaccl: h0 has no Ethernet or Wi-Fi address")


def test_a_search_without_an_answer_is_no_refusal_of_a_ring(wired: Callable[..., Topology]) -> None:
    steps = iter([True] * 300 + [False] * 10**6)
    bipartite = [(i, j) for i in range(12) for j in range(12, 25)]

    found = choice.choose(wired(25, bipartite), "ring", lambda: next(steps))

    assert found.backend == ""
    assert (
        "the search for a ring through all 25 hosts ended undecided; the longest ring found has 24: h0, "
        in found.problems[0]
    )
    assert found.problems[0].endswith(", and 16 more")


def test_two_backends_ask_for_the_same_ring_once(wired: Callable[..., Topology]) -> None:
    asked = []
    topology = wired(5, [(i, j) for i in range(2) for j in range(2, 5)])

    alone = choice.choose(topology, "ring", lambda: not asked.append(1))
    steps = len(asked)
    found = choice.choose(topology, "", lambda: not asked.append(1))

    assert len(asked) == 2 * steps
    assert found.problems[2] == alone.problems[0]


@pytest.mark.parametrize(
    ("speed", "remedy"),
    [
        ("40 Gb/s", "its ports run at 40 Gb/s, and RDMA needs Thunderbolt 5"),
        ("80\u00a0Gb/s", "run `rdma_ctl enable` in macOS Recovery (Thunderbolt 5)"),
        ("", "run `rdma_ctl enable` in macOS Recovery (Thunderbolt 5)"),
    ],
)
def test_what_a_mac_without_rdma_needs(wired: Callable[..., Topology], speed: str, remedy: str) -> None:
    topology = wired(2, [(0, 1)])
    hosts = tuple(
        replace(host, rdma=(), ports=(Port("en2", host.name, "", "", speed),)) for host in topology.hosts
    )

    found = choice.choose(replace(topology, hosts=hosts), "", go_on)

    assert (found.backend, found.problems[0]) == ("ring", f"jaccl: no RDMA device on h0, h1: {remedy}")


def test_hosts_without_cables_and_one_host_alone(wired: Callable[..., Topology]) -> None:
    assert choice.choose(wired(1, []), "", go_on).problems == ("one host alone has no cables to others",)
    assert choice.choose(wired(3, []), "ring", go_on).problems == (
        "ring: no ring through all 3 hosts; no host is cabled",
    )
