"""Which RDMA devices of Linux hosts reach each other."""

from __future__ import annotations

from pathlib import Path

from jobkit.hosts import choice, links, recording
from jobkit.hosts.machine import RDMA
from jobkit.hosts.model import LINUX, Cable, Device, End, Gid, Host, Network


def mapped(address: str) -> str:
    one, two, three, four = map(int, address.split("."))
    return f"0000:0000:0000:0000:0000:ffff:{one:02x}{two:02x}:{three:02x}{four:02x}"


def roce(name: str, interface: str, *gids: str, state: str = "ACTIVE") -> Device:
    rows = tuple(Gid(index, gid, "RoCE v2") for index, gid in enumerate(gids))
    return Device(name, interface, 1, state, "25 Gb/sec", "Ethernet", rows)


def host(name: str, networks: dict[str, str], *devices: Device) -> Host:
    known = tuple(Network(cidr, interface) for interface, cidr in networks.items())
    return Host(name, addresses=("10.1.1.1",), rdma=devices, networks=known, system=LINUX)


def test_devices_on_one_switch_make_a_mesh() -> None:
    hosts = tuple(
        host(f"h{n}", {"eth0": "10.0.0.0/24"}, roce("rxe0", "eth0", mapped(f"10.0.0.{n}"))) for n in (1, 2, 3)
    )

    found = links.connect(hosts)

    assert [tuple(end.host for end in cable.ends) for cable in found.cables] == [(0, 1), (0, 2), (1, 2)]
    assert found.cables[0] == Cable((End(0, "eth0"), End(1, "eth0")), "25 Gb/sec")
    assert (choice.choose(found, "", lambda: True).backend, found.remarks) == ("jaccl", ())


def test_every_device_has_its_own_in_the_order_of_both() -> None:
    hosts = tuple(
        host(
            f"h{n}",
            {"a": "10.0.0.0/24", "b": "10.0.0.0/24", "c": "10.7.0.0/24"},
            *(roce(f"mlx{i}", "abc"[i], mapped(f"10.{7 * (i == 2)}.0.{n * 10 + i}")) for i in range(3)),
        )
        for n in (1, 2)
    )

    assert [
        (near.interface, far.interface) for near, far in (c.ends for c in links.connect(hosts).cables)
    ] == [
        ("a", "a"),
        ("b", "b"),
        ("c", "c"),
    ]


def test_cables_from_host_to_host_have_networks_of_their_own() -> None:
    ends = {
        "h0": {"a": "10.0.0.0/30", "b": "10.0.0.8/30"},
        "h1": {"a": "10.0.0.0/30"},
        "h2": {"a": "10.0.0.8/30"},
    }
    first = {"10.0.0.0/30": 1, "10.0.0.8/30": 9}
    hosts = tuple(
        host(
            name,
            own,
            *(
                roce(f"rxe{i}", i, mapped(f"10.0.0.{first[cidr] + (name != 'h0')}"))
                for i, cidr in own.items()
            ),
        )
        for name, own in ends.items()
    )

    found = links.connect(hosts)

    assert [tuple(end.host for end in cable.ends) for cable in found.cables] == [(0, 1), (0, 2)]
    assert choice.choose(found, "jaccl", lambda: True).problems == (
        "jaccl: no mesh of cables: h1 and h2 have no network of active RDMA devices between them",
    )


def test_infiniband_goes_by_the_prefix_of_its_subnet() -> None:
    def device(prefix: str, end: str) -> Device:
        return Device("mlx5_0", "mlx5_0", 1, "ACTIVE", "", "InfiniBand", (Gid(0, f"{prefix}::{end}"),))

    same = tuple(host(f"h{n}", {}, device("fe80", f"{n}")) for n in (1, 2))
    other = (same[0], host("h2", {}, device("fec0", "2")))

    assert len(links.connect(same).cables) == 1
    assert links.connect(other).cables == ()


def test_what_is_not_counted_is_said() -> None:
    down = roce("mlx0", "a", mapped("10.0.0.1"), state="DOWN")
    local = roce("mlx1", "b", "fe80::1", "nonsense")
    hosts = (host("h1", {"a": "10.0.0.0/24"}, down, local), host("h2", {"a": "10.0.0.0/24"}, local))

    assert links.connect(hosts).cables == ()
    assert links.connect(hosts).remarks[:2] == (
        "h1: mlx0 port 1 is DOWN: not counted",
        "h1: mlx1 port 1: b has no address that others share; give it one",
    )


def test_without_devices_the_remedy_is_that_of_linux() -> None:
    found = links.connect((host("h1", {}), host("h2", {})))

    assert choice.choose(found, "jaccl", lambda: True).problems == (
        "jaccl: no RDMA device on h1, h2: load the adapter's driver, or make one: "
        "sudo rdma link add rxe0 type rxe netdev eth0",
    )


def test_guests_with_soft_roce_as_they_were_recorded(repository: Path) -> None:
    """Two cables lead from one to the other, and one of them has devices."""
    found = links.connect(recording.read(str(repository / "tests/data/rdma"), over=RDMA))

    assert (found.cables, found.remarks) == (
        (Cable((End(0, "eth0"), End(1, "eth0")), "2.5 Gb/sec (1X SDR)"),),
        (),
    )
    device = found.hosts[0].rdma[0]
    assert (device.name, device.state, device.layer) == ("rxe0", "ACTIVE", "Ethernet")
    assert [(gid.index, gid.kind) for gid in device.gids] == [(0, "RoCE v2"), (1, "RoCE v2")]
    assert [host.addresses for host in found.hosts] == [("10.1.0.1", "10.2.0.1"), ("10.1.0.2", "10.2.0.2")]
