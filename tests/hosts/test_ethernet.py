"""Addresses that the others reach."""

from __future__ import annotations

import pytest

from jobkit.hosts import ethernet
from jobkit.hosts.model import Host, Network


def host(name: str, *addresses: str, known: bool = True) -> Host:
    networks = tuple(
        Network(cidr, "en0")
        for address in addresses
        for cidr in (f"{address.rpartition('.')[0]}.0/24", f"{address}/32")
    )
    return Host(name, addresses=addresses, networks=networks if known else None)


def test_a_network_that_all_have_comes_before_what_is_first_on_one() -> None:
    hosts = (host("a", "10.0.0.1", "10.1.0.1"), host("b", "10.1.0.2"), host("c", "10.2.0.3", "10.1.0.3"))

    assert ethernet.choose(hosts) == ethernet.Chosen((("10.1.0.1",), ("10.1.0.2",), ("10.1.0.3",)))


def test_of_several_the_first_hosts_first_is_taken() -> None:
    hosts = (host("a", "10.0.0.1", "10.1.0.1"), host("b", "10.1.0.2", "10.0.0.2"))

    assert ethernet.choose(hosts).addresses == (("10.0.0.1",), ("10.0.0.2",))


@pytest.mark.parametrize(("known", "remark"), [(True, "the hosts have no network in common"), (False, "")])
def test_without_one_each_has_its_first(known: bool, remark: str) -> None:
    hosts = (host("a", "10.0.0.1", known=known), host("b", "10.1.0.2"))

    assert ethernet.choose(hosts) == ethernet.Chosen((("10.0.0.1",), ("10.1.0.2",)), (), remark)


def test_what_will_not_do_is_said() -> None:
    found = ethernet.choose((host("a", "10.0.0.1"), host("b", "10.0.0.1"), host("c")))

    assert found.problems == (
        "c: has no address on Ethernet or Wi-Fi",
        "a and b have one address, 10.0.0.1: name every machine only once",
    )
    assert ethernet.choose(()) == ethernet.Chosen(())
