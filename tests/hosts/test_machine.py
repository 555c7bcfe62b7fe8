"""Hosts from what was printed on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobkit.errors import SpecError
from jobkit.hosts import outputs
from jobkit.hosts.machine import ETHERNET, RDMA, THUNDERBOLT, describe
from jobkit.hosts.outputs import Outputs


@pytest.fixture
def mac(repository: Path) -> dict[str, str]:
    """What was recorded of a Mac."""
    folder = repository / "tests/data/macs/ring4/hostname1"
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_over_ethernet_a_mac_needs_no_thunderbolt(mac: dict[str, str]) -> None:
    texts = {outputs.EN0: mac[outputs.EN0], outputs.PROFILE: "broken"}

    assert describe(Outputs("h", "h", texts), ETHERNET).addresses == ("123.123.123.1",)
    with pytest.raises(SpecError):
        describe(Outputs("h", "h", texts), THUNDERBOLT)


@pytest.mark.parametrize(
    ("ifconfig", "ssh", "addresses"),
    [
        ("en8: f\n\tinet 10.4.0.9 netmask 0xffffff00\n", "10.4.0.1 50000 10.4.0.9 22", ("10.4.0.9",)),
        ("en2: f\n\tinet 10.4.0.9 netmask 0xffffff00\n", "10.4.0.1 50000 10.4.0.9 22", ()),
        ("", "10.4.0.1 50000 169.254.3.3 22", ()),
        ("", "fe80::1 50000 fe80::2 22", ()),
        ("", "", ()),
    ],
)
def test_a_mac_whose_ethernet_is_another_is_known_by_where_ssh_reached_it(
    mac: dict[str, str], ifconfig: str, ssh: str, addresses: tuple[str, ...]
) -> None:
    texts = {**mac, outputs.EN0: "", outputs.IFCONFIG: ifconfig, outputs.NETSTAT: "", outputs.SSH: ssh}

    assert describe(Outputs("h", "h", texts)).addresses == addresses


def test_a_linux_host() -> None:
    info = {"family": "inet", "local": "10.0.0.7", "prefixlen": 24}
    rows = [{"ifname": "eth0", "flags": ["UP"], "operstate": "UP", "addr_info": [info]}]
    texts = {outputs.SYSTEM: "Linux\n", outputs.IP_ADDRESS: json.dumps(rows), outputs.IP_ROUTE: "[]"}

    found = describe(Outputs("h", "h", texts), ETHERNET)

    assert (found.system, found.addresses, found.rdma) == ("Linux", ("10.0.0.7",), ())
    with pytest.raises(SpecError, match="h: Thunderbolt is for Macs, got 'Linux'\n\nhint: --over ethernet"):
        describe(Outputs("h", "h", texts), THUNDERBOLT)
    with pytest.raises(SpecError, match=r"h/ip_address\.json: no such file"):
        describe(Outputs("h", "h", {outputs.SYSTEM: "Linux"}), RDMA)


@pytest.mark.parametrize(
    ("system", "wrong"),
    [("FreeBSD", "an unknown system, got 'FreeBSD'"), ("Darwin", "a Mac has no RDMA network")],
)
def test_what_cannot_have_that_network_is_refused(system: str, wrong: str) -> None:
    with pytest.raises(SpecError, match=wrong):
        describe(Outputs("h", "h", {outputs.SYSTEM: system}), RDMA)
