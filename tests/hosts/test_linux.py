"""What the tools of Linux print."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobkit.errors import SpecError
from jobkit.hosts import linux
from jobkit.hosts.linux import Interface, Routes
from jobkit.hosts.model import Device, Gid, Network


def row(name: str, *addresses: str, up: bool = True, **more: Any) -> dict[str, Any]:
    infos = [
        {
            "family": "inet6" if ":" in one else "inet",
            "local": one.split("/")[0],
            "prefixlen": int(one.split("/")[1]),
        }
        for one in addresses
    ]
    return {"ifname": name, "flags": ["UP"] if up else [], "operstate": "UP", "addr_info": infos, **more}


ROWS = [
    row("lo", "127.0.0.1/8", "::1/128"),
    row("eth0", "10.0.0.7/24"),
    row("ens1", "192.168.7.1/30", "fe80::1/64"),
    row("ens2", "10.9.0.1/16", operstate="DOWN"),
    row("ens3", "10.8.0.1/16", up=False),
    row("docker0", "172.17.0.1/16"),
    {"ifname": "odd", "addr_info": [{"family": "inet", "local": "x", "prefixlen": 1}, 3]},
    {"ifname": "odder", "addr_info": None},
    3,
]
ROUTES = [
    {"dst": "default", "gateway": "10.0.0.1", "dev": "wlan0", "metric": 600},
    {"dst": "default", "gateway": "192.168.7.2", "dev": "ens1", "metric": 100},
    {"dst": "10.0.0.0/24", "dev": "eth0"},
    {"dst": "10.55.0.0/16", "dev": "tun0"},
    {"dst": "127.0.0.0/8", "dev": "lo"},
    {"dst": "x", "dev": "y"},
]


def test_the_likeliest_address_is_first() -> None:
    found = linux.interfaces(json.dumps(ROWS), "a")
    routes = linux.routes(json.dumps(ROUTES), "a")

    assert found[1] == Interface("eth0", ("10.0.0.7/24",), True)
    assert routes.default == ("ens1", "wlan0")
    assert routes.networks == (Network("10.0.0.0/24", "eth0"), Network("10.55.0.0/16", "tun0"))
    assert linux.addresses(found, routes, "") == ("192.168.7.1", "10.0.0.7")
    assert linux.addresses(found, routes, "10.0.0.7") == ("10.0.0.7", "192.168.7.1")
    assert linux.addresses(found, Routes(), "1.2.3.4") == ("10.0.0.7", "192.168.7.1")
    assert Network("10.9.0.0/16", "ens2") in linux.networks(found)
    assert not [network for network in linux.networks(found) if network.interface == "lo"]


@pytest.mark.parametrize("text", ["{", "{}", "3", "[" * 10**5])
def test_what_is_no_such_output_is_refused_with_the_command(text: str) -> None:
    with pytest.raises(SpecError, match=r"a/x: .*expected the output of `ip -json address`"):
        linux.interfaces(text, "a/x")
    with pytest.raises(SpecError, match=r"a/x: .*expected the output of `ip -json -4 route`"):
        linux.routes(text, "a/x")


SYSFS = """/sys/class/infiniband/rxe0/ports/1/state:4: ACTIVE
/sys/class/infiniband/rxe0/ports/1/rate:2.5 Gb/sec (1X SDR)
/sys/class/infiniband/rxe0/ports/1/link_layer:Ethernet
/sys/class/infiniband/rxe0/ports/1/gids/0:fe80:0000:0000:0000:5054:00ff:fe12:3456
/sys/class/infiniband/rxe0/ports/1/gids/1:0000:0000:0000:0000:0000:ffff:0a00:0007
/sys/class/infiniband/rxe0/ports/1/gids/2:0000:0000:0000:0000:0000:0000:0000:0000
/sys/class/infiniband/rxe0/ports/1/gid_attrs/ndevs/0:eth0
/sys/class/infiniband/rxe0/ports/1/gid_attrs/ndevs/1:eth0
/sys/class/infiniband/rxe0/ports/1/gid_attrs/types/0:RoCE v2
/sys/class/infiniband/rxe0/ports/1/gid_attrs/types/1:RoCE v2
/sys/class/infiniband/mlx5_0/ports/1/state:1: DOWN
/sys/class/infiniband/mlx5_0/ports/1/link_layer:InfiniBand
noise
"""


def test_devices_with_their_ports_and_gids() -> None:
    rxe = Device(
        "rxe0",
        "eth0",
        1,
        "ACTIVE",
        "2.5 Gb/sec (1X SDR)",
        "Ethernet",
        (
            Gid(0, "fe80:0000:0000:0000:5054:00ff:fe12:3456", "RoCE v2"),
            Gid(1, "0000:0000:0000:0000:0000:ffff:0a00:0007", "RoCE v2"),
        ),
    )

    assert linux.devices(SYSFS, "") == (Device("mlx5_0", "mlx5_0", 1, "DOWN", "", "InfiniBand"), rxe)
    assert linux.devices("", "") == ()


@pytest.mark.parametrize("links", ["nonsense", "{}", '[3, {"ifname": "mlx5_0"}]'])
def test_the_interface_is_told_by_rdma_link_if_it_tells(links: str) -> None:
    told = (
        '[{"ifindex": 0, "ifname": "mlx5_0", "port": 1, "state": "DOWN", "netdev": "ib0", "netdev_index": 3}]'
    )

    assert linux.devices(SYSFS, told)[0].interface == "ib0"
    assert linux.devices(SYSFS, links)[0].interface == "mlx5_0"
