"""Read what the tools of macOS print about Thunderbolt ports, interfaces and RDMA devices."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

from jobkit.errors import SpecError, complaint
from jobkit.hosts.model import Device, Port

_BUSES = "SPThunderboltDataType"
_RECEPTACLE = re.compile(r"receptacle_\d+_tag")
_SPEED = re.compile(r"\d+\s?Gb/s")  # 'Up to 80 Gb/s', in the language of the machine
_DEVICE = re.compile(r"\s*(rdma_(\w+))\s+[0-9a-fA-F:]+\s*")


def ports(profile: str, hardware: dict[str, str], where: str) -> tuple[Port, ...]:
    """Return the Thunderbolt ports of a machine, by interface.

    A dock or a display has no domain of its own: a port with nothing else leads to no computer.

    Args:
        profile: The output of `system_profiler SPThunderboltDataType -json`.
        hardware: What `interfaces` found.
        where: Names the output in errors.

    Raises:
        SpecError: It is not that output, or a cabled port has no interface.
    """
    found = [_port(bus, hardware, where) for bus in _buses(profile, where)]
    return tuple(sorted((port for port in found if port), key=lambda port: natural(port.interface)))


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts en2 before en10."""
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"([0-9]+)", text)
    )


def _buses(profile: str, where: str) -> list[dict[str, Any]]:
    expected = "the output of `system_profiler SPThunderboltDataType -json`"
    try:
        content = json.loads(profile)
    except (ValueError, RecursionError) as error:
        raise SpecError(complaint(where, f"not JSON ({error})", expected=expected)) from None
    buses = content.get(_BUSES) if isinstance(content, dict) else None
    if not isinstance(buses, list) or not all(isinstance(bus, dict) for bus in buses):
        raise SpecError(complaint(where, f"no list {_BUSES}", expected=expected))
    return buses


def _port(bus: dict[str, Any], hardware: dict[str, str], where: str) -> Port | None:
    """Return the port of a bus; None for a bus without one."""
    tag = next((value for key, value in bus.items() if _RECEPTACLE.fullmatch(key)), None)
    uuid = _text(bus, "domain_uuid_key")
    if not uuid or not isinstance(tag, dict):
        return None
    items = bus.get("_items")
    peers = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    peer = next((item for item in peers if _text(item, "domain_uuid_key")), {})
    name = f"Thunderbolt {_text(tag, 'receptacle_id_key')}"
    if name not in hardware:
        if not peer:
            return None
        wrong = f"a cable is in port {name!r}, which has no network interface"
        known = ", ".join(hardware) or "no interface at all"
        hint = "add a network service for it in System Settings, or record again as `networksetup` prints now"
        raise SpecError(complaint(where, wrong, expected=f"one of {known}", hint=hint))
    speed = _SPEED.search(_text(tag, "current_speed_key"))
    return Port(
        interface=hardware[name],
        uuid=uuid.upper(),
        peer=_text(peer, "domain_uuid_key").upper(),
        peer_name=_text(peer, "device_name_key") or _text(peer, "_name"),
        speed=speed.group() if speed and peer else "",
        name=name,
    )


def _text(mapping: dict[str, Any], key: str) -> str:
    value = mapping.get(key)
    text = str(value) if isinstance(value, str | int) else ""
    # It is shown in messages and pictures: a computer's name may hold anything.
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def interfaces(text: str, where: str) -> dict[str, str]:
    """Return the interface of each hardware port: {'Thunderbolt 1': 'en5', …}.

    Args:
        text: The output of `networksetup -listallhardwareports`.
        where: Names the output in errors.

    Raises:
        SpecError: It names no hardware port.
    """
    found = re.findall(r"^Hardware Port: *(.+?)\s*\nDevice: *(\w+)", text, re.MULTILINE)
    if not found:
        expected = "the output of `networksetup -listallhardwareports`"
        raise SpecError(complaint(where, "no hardware port", got=text[:40], expected=expected))
    return dict(found)


def bridge(hardware: dict[str, str]) -> str:
    """Return the name, in whatever language, of what bridges the Thunderbolt ports; "" without."""
    bridges = [name for name, device in hardware.items() if "Thunderbolt" in name and "bridge" in device]
    return bridges[0] if bridges else ""


def rdma_devices(text: str) -> tuple[Device, ...]:
    """Return the devices that `ibv_devices` lists, each named after its interface; none where RDMA is off."""
    rows = map(_DEVICE.fullmatch, text.splitlines())
    return tuple(Device(row.group(1), row.group(2)) for row in rows if row)


def address(text: str, where: str) -> tuple[str, ...]:
    """Return the address that `ipconfig getifaddr` printed, none where the interface has none.

    Raises:
        SpecError: It is something else.
    """
    word = text.strip()
    try:
        return (str(ipaddress.ip_address(word)),) if word else ()
    except ValueError:
        raise SpecError(complaint(where, "not an address", got=word[:40], expected="10.0.0.1")) from None
