"""What the tools of macOS print, as recorded and damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobkit.errors import SpecError
from jobkit.hosts import macs
from jobkit.hosts.model import Device, Port

HARDWARE = {
    "Ethernet": "en0",
    "Thunderbolt 1": "en2",
    "Thunderbolt 2": "en10",
    "Thunderbolt Bridge": "bridge0",
}


def bus(receptacle: int = 1, **more: Any) -> dict[str, Any]:
    tag = {"receptacle_id_key": str(receptacle), "current_speed_key": "Bis zu 80 Gb/s"}
    return {"domain_uuid_key": f"own-{receptacle}", f"receptacle_{receptacle}_tag": tag, **more}


def profile(*buses: Any) -> str:
    return json.dumps({"SPThunderboltDataType": list(buses)})


def test_a_port_knows_its_interface_its_peer_and_the_speed_in_any_language() -> None:
    peer = {"domain_uuid_key": "there", "device_name_key": "b\x1b[2J"}

    found = macs.ports(profile(bus(2), bus(1, _items=[peer])), HARDWARE, "a")

    assert found == (
        Port("en2", "OWN-1", "THERE", "b?[2J", "80 Gb/s", "Thunderbolt 1"),
        Port("en10", "OWN-2", name="Thunderbolt 2"),
    )


def test_docks_and_displays_are_no_computers(repository: Path) -> None:
    left = repository / "tests/data/macs/pair2-double/left"
    hardware = macs.interfaces((left / "networksetup.txt").read_text(), "left")

    found = macs.ports((left / "system_profiler.json").read_text(), hardware, "left")

    assert "TS4" in (left / "system_profiler.json").read_text()
    assert [(port.interface, port.peer_name) for port in found] == [
        ("en2", "right"),
        ("en3", "right"),
        ("en4", ""),
    ]


@pytest.mark.parametrize(
    "odd", [{}, {"domain_uuid_key": "a"}, {"domain_uuid_key": "a", "receptacle_1_tag": 1}]
)
def test_a_bus_without_a_port_is_left_out(odd: dict[str, Any]) -> None:
    assert macs.ports(profile(odd, bus(1, _items="none")), HARDWARE, "a") == (
        Port("en2", "OWN-1", name="Thunderbolt 1"),
    )


def test_a_mac_without_thunderbolt_has_no_ports() -> None:
    assert macs.ports(profile(), HARDWARE, "a") == ()


@pytest.mark.parametrize(
    "text",
    ["", '{"SPThunderboltDataType": [', "[]", "{}", profile(1), '{"SPThunderboltDataType": {}}', "[" * 10**5],
)
def test_a_profile_that_is_none_is_refused_with_the_command(text: str) -> None:
    with pytest.raises(SpecError, match=r"a/x: .*expected the output of `system_profiler"):
        macs.ports(text, HARDWARE, "a/x")


def test_a_cabled_port_needs_an_interface_and_an_empty_one_does_not() -> None:
    assert macs.ports(profile(bus(3)), HARDWARE, "a") == ()
    with pytest.raises(SpecError, match=r"cable is in port 'Thunderbolt 3'.*one of Ethernet, Thunderbolt 1"):
        macs.ports(profile(bus(3, _items=[{"domain_uuid_key": "x"}])), HARDWARE, "a")


def test_interfaces_by_hardware_port() -> None:
    ports = ("Ethernet\nDevice: en0\nEthernet Address: a\n", "Thunderbolt-Bridge\nDevice: bridge0\n")
    text = "".join(f"\nHardware Port: {port}" for port in ports)

    assert macs.interfaces(text, "a") == {"Ethernet": "en0", "Thunderbolt-Bridge": "bridge0"}
    assert macs.bridge(macs.interfaces(text, "a")) == "Thunderbolt-Bridge"
    assert macs.bridge({"Ethernet": "en0"}) == ""


@pytest.mark.parametrize(
    "text", ["", "Anschluss: Ethernet\nDevice: en0", "Hardware Port: A\nDevice: ;reboot"]
)
def test_hardware_ports_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match="no hardware port"):
        macs.interfaces(text, "a")


def test_rdma_devices_are_those_listed() -> None:
    head = "device          \t   node GUID\n------          \t----\n"
    text = f"{head}rdma_en5        \t2e8b32e044c42954\nmlx5_0 \tab\n"

    assert macs.rdma_devices(text) == (Device("rdma_en5", "en5"),)
    assert macs.rdma_devices("Failed to get IB devices list: Function not implemented") == ()


def test_an_address_or_none() -> None:
    assert macs.address("10.0.0.1\n", "a") == ("10.0.0.1",)
    assert macs.address("\n", "a") == ()
    with pytest.raises(SpecError, match="not an address"):
        macs.address("get if addr en0 failed", "a")


def test_names_sort_by_their_numbers() -> None:
    assert sorted(["en10", "en2", "a", "2", "b1c"], key=macs.natural) == ["2", "a", "b1c", "en2", "en10"]
