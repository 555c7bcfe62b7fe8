from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.env import addresses
from jobkit.env.addresses import in_subnet, interfaces, is_global
from jobkit.errors import LaunchError

CABLED = [("lo", "127.0.0.1"), ("docker0", "172.17.0.1"), ("eth0", "10.0.0.5"), ("ib0", "10.1.0.5")]


@pytest.fixture
def cabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "interfaces", lambda: list(CABLED))
    routes = {"10.1.0.9": "10.1.0.5", "172.17.0.3": "172.17.0.1", "127.0.0.1": "127.0.0.1"}
    monkeypatch.setattr(addresses, "_source", lambda toward: routes.get(toward, ""))


@pytest.mark.usefixtures("cabled")
@pytest.mark.parametrize(
    ("subnet", "toward", "expected"),
    [
        ("", "10.1.0.9", ("10.1.0.5",)),
        ("", "", ("10.0.0.5",)),
        ("", "172.17.0.3", ("10.0.0.5",)),  # a bridge of containers is on every host
        ("", "127.0.0.1", ("10.0.0.5",)),  # what this host's own name often is
        ("10.0.0.0/8", "", ("10.0.0.5", "10.1.0.5")),
        ("172.17.0.0/16", "", ("172.17.0.1",)),  # asked for
    ],
)
def test_other_hosts_are_given_what_they_reach(subnet: str, toward: str, expected: tuple[str, ...]) -> None:
    assert addresses.addresses(subnet, toward) == expected


@pytest.mark.usefixtures("cabled")
def test_a_subnet_without_an_address_names_those_that_are_there() -> None:
    with pytest.raises(LaunchError, match=r"no address in 192.168.0.0/16; it has .* 10.0.0.5 \(eth0\)"):
        addresses.addresses("192.168.0.0/16")


@pytest.mark.parametrize("subnet", ["10.0.0.0/33", "10.0.0/8", "fd00::/8", "x", "10.0.0.0/-1", "/"])
def test_what_is_no_network_is_refused(subnet: str) -> None:
    with pytest.raises(LaunchError, match="no IPv4 network"):
        in_subnet("10.0.0.1", subnet)


@pytest.mark.parametrize(
    ("address", "subnet", "inside"),
    [
        ("10.2.3.4", "10.0.0.0/8", True),
        ("11.2.3.4", "10.0.0.0/8", False),
        ("10.2.3.4", "10.2.3.4", True),
        ("10.2.3.4", "0.0.0.0/0", True),
        ("10.2.3.5", "10.2.3.4/31", True),
    ],
)
def test_an_address_is_inside_or_not(address: str, subnet: str, inside: bool) -> None:
    assert in_subnet(address, subnet) is inside


def test_the_interfaces_are_those_of_the_system() -> None:
    assert ("lo", "127.0.0.1") in interfaces()
    assert {name for name, _ in interfaces()} <= {path.name for path in Path("/sys/class/net").iterdir()}


def test_loopback_and_link_local_addresses_mean_another_host_elsewhere() -> None:
    assert [is_global(a) for a in ("127.0.0.1", "127.0.1.1", "169.254.1.1", "10.0.0.1")] == [False] * 3 + [
        True
    ]
