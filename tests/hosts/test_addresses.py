"""Networks for cables, beside those that the hosts have."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace

import pytest

from jobkit.errors import SpecError
from jobkit.hosts import addresses
from jobkit.hosts.model import Network, Topology


def networks(topology: Topology, *found: Network) -> Topology:
    """Give the networks to the first host, and none to the others."""
    hosts = [replace(host, networks=()) for host in topology.hosts]
    return replace(topology, hosts=(replace(hosts[0], networks=found), *hosts[1:]))


def of(pair: tuple[str, str]) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network((pair[0], 30), strict=False)


def test_every_cable_has_a_network_of_its_own(layout: Callable[..., Topology]) -> None:
    planned = addresses.plan(layout("mesh4"))

    assert planned[:2] == (("192.168.128.1", "192.168.128.2"), ("192.168.128.5", "192.168.128.6"))
    assert len({of(pair) for pair in planned}) == 6


@pytest.mark.parametrize(
    "taken",
    [
        ["192.168.128.0/24", "192.168.129.5/32", "192.168.129.8/29"],
        ["192.168.0.0/16"],
        ["192.168.0.0/16", "172.16.0.0/12", "10.192.0.0/11"],
        ["192.168.128.1/32", "192.168.128.6/32"],
    ],
)
def test_no_network_of_a_host_is_taken(wired: Callable[..., Topology], taken: list[str]) -> None:
    topology = networks(wired(3, [(0, 1), (1, 2), (0, 2)] * 30), *(Network(cidr, "en0") for cidr in taken))

    planned = addresses.plan(topology)

    assert len({of(pair) for pair in planned}) == 90
    assert not any(of(pair).overlaps(ipaddress.IPv4Network(cidr)) for pair in planned for cidr in taken)


def test_the_network_of_an_address_by_which_a_host_is_reached_is_not_taken(
    wired: Callable[..., Topology],
) -> None:
    topology = wired(2, [(0, 1)])
    topology = replace(
        topology,
        hosts=tuple(replace(host, addresses=("192.168.128.9", "fd00::1")) for host in topology.hosts),
    )

    assert addresses.plan(topology) == (("192.168.129.1", "192.168.129.2"),)


def test_a_second_plan_is_the_first(wired: Callable[..., Topology]) -> None:
    topology = wired(2, [(0, 1)])
    first = addresses.plan(topology)

    assert addresses.plan(networks(topology, Network(str(of(first[0])), "en2"))) == first
    assert addresses.plan(networks(topology, Network(str(of(first[0])), "en9"))) != first


def test_no_network_left_is_said(wired: Callable[..., Topology]) -> None:
    with pytest.raises(SpecError, match="no private network is left for 1 cables"):
        addresses.plan(networks(wired(2, [(0, 1)]), Network("128.0.0.0/1", "a"), Network("10.0.0.0/8", "b")))


def test_hosts_whose_networks_are_not_known(wired: Callable[..., Topology]) -> None:
    assert addresses.unchecked(wired(2, [])) == ("h0", "h1")
    assert addresses.unchecked(networks(wired(2, []))) == ()
