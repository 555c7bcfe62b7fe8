"""Commands for a host."""

from __future__ import annotations

from collections.abc import Callable

from jobkit.hosts import addresses, setup
from jobkit.hosts.model import Topology


def test_both_ends_of_a_cable_get_their_address_and_the_way_to_the_other(
    layout: Callable[..., Topology],
) -> None:
    topology = layout("line3")
    planned = addresses.plan(topology)

    assert setup.commands(topology, planned, 0) == (
        "sudo ifconfig bridge0 down",
        "sudo ifconfig en2 inet 192.168.128.1 netmask 255.255.255.252",
        "sudo route change 192.168.128.2 -interface en2 || sudo route add 192.168.128.2 -interface en2",
    )
    assert setup.commands(topology, planned, 1)[1:] == (
        "sudo ifconfig en2 inet 192.168.128.2 netmask 255.255.255.252",
        "sudo route change 192.168.128.1 -interface en2 || sudo route add 192.168.128.1 -interface en2",
        "sudo ifconfig en3 inet 192.168.128.5 netmask 255.255.255.252",
        "sudo route change 192.168.128.6 -interface en3 || sudo route add 192.168.128.6 -interface en3",
    )


def test_what_was_done_can_be_taken_back(layout: Callable[..., Topology]) -> None:
    topology = layout("line3")

    assert setup.undo(topology, addresses.plan(topology), 2) == (
        "sudo ifconfig en3 inet 192.168.128.6 delete",
        "sudo ifconfig bridge0 up",
    )


def test_without_a_bridge_none_is_touched(wired: Callable[..., Topology]) -> None:
    topology = wired(2, [])

    assert setup.commands(topology, (), 0) == setup.undo(topology, (), 0) == setup.keep(topology, (), 0) == ()


def test_a_network_service_for_each_cable_keeps_it(layout: Callable[..., Topology]) -> None:
    topology = layout("line3")

    assert setup.keep(topology, addresses.plan(topology), 2) == (
        "sudo networksetup -setnetworkserviceenabled 'Thunderbolt Bridge' off",
        "sudo networksetup -createnetworkservice 'jobkit en3' 'Thunderbolt 2'",
        "sudo networksetup -setmanual 'jobkit en3' 192.168.128.6 255.255.255.252",
    )
