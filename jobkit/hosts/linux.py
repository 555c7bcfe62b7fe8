"""Read what `ip -json`, `rdma -j link` and sysfs of Linux say about interfaces and RDMA devices."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from jobkit.errors import SpecError, complaint
from jobkit.hosts.model import Device, Gid, Network
from jobkit.hosts.networks import is_usable

# '/sys/class/infiniband/mlx5_0/ports/1/gid_attrs/types/3:RoCE v2'
_FILE = re.compile(r"/sys/class/infiniband/([^/]+)/ports/(\d+)/([^:]+):(.*)")
# Those of containers and virtual machines lead to nobody outside.
_INSIDE = re.compile(r"docker|veth|virbr|br-|cni|flannel|cali|lxc|lxd|podman")


@dataclass(frozen=True)
class Interface:
    """A network interface.

    Attributes:
        name: 'eth0'.
        addresses: With their networks' lengths, IPv4: '10.0.0.7/24'.
        is_up: Whether it is.
    """

    name: str
    addresses: tuple[str, ...]
    is_up: bool


@dataclass(frozen=True)
class Routes:
    """Where a host sends what.

    Attributes:
        networks: That it has routes to.
        default: Interfaces of default routes, the one that is taken first.
    """

    networks: tuple[Network, ...] = ()
    default: tuple[str, ...] = ()


def interfaces(text: str, where: str) -> tuple[Interface, ...]:
    """Return the interfaces of a host.

    Args:
        text: The output of `ip -json address`.
        where: Names it in errors.

    Raises:
        SpecError: It is something else.
    """
    found = []
    for row in _rows(text, where, "ip -json address"):
        infos = row.get("addr_info")
        addresses = tuple(
            f"{info['local']}/{info['prefixlen']}"
            for info in (infos if isinstance(infos, list) else [])
            if isinstance(info, dict) and info.get("family") == "inet" and _is_network(info)
        )
        flags = row.get("flags")
        is_up = isinstance(flags, list) and "UP" in flags and row.get("operstate") != "DOWN"
        found.append(Interface(str(row.get("ifname", "")), addresses, is_up))
    return tuple(found)


def _is_network(info: dict[str, Any]) -> bool:
    try:
        ipaddress.IPv4Interface((info.get("local"), info.get("prefixlen")))
    except (ValueError, TypeError):
        return False
    return True


def _rows(text: str, where: str, command: str) -> list[dict[str, Any]]:
    expected = f"the output of `{command}`"
    try:
        rows = json.loads(text or "[]")
    except (ValueError, RecursionError) as error:
        raise SpecError(complaint(where, f"not JSON ({error})", expected=expected)) from None
    if not isinstance(rows, list):
        raise SpecError(complaint(where, "no list", got=text[:40], expected=expected))
    return [row for row in rows if isinstance(row, dict)]


def routes(text: str, where: str) -> Routes:
    """Return where a host sends what.

    Args:
        text: The output of `ip -json -4 route`.
        where: Names it in errors.

    Raises:
        SpecError: It is something else.
    """
    found, default = [], []
    for row in _rows(text, where, "ip -json -4 route"):
        target, interface = str(row.get("dst", "")), str(row.get("dev", ""))
        if target == "default":
            default.append((int(row.get("metric") or 0), interface))
            continue
        with contextlib.suppress(ValueError):
            network = ipaddress.IPv4Network(target, strict=False)
            if not network.is_loopback:
                found.append(Network(str(network), interface))
    return Routes(tuple(found), tuple(interface for _, interface in sorted(default)))


def networks(interfaces: tuple[Interface, ...]) -> tuple[Network, ...]:
    """Return the networks of a host's own addresses."""
    return tuple(
        Network(str(ipaddress.IPv4Interface(address).network), interface.name)
        for interface in interfaces
        for address in interface.addresses
        if is_usable(address.partition("/")[0])
    )


def addresses(interfaces: tuple[Interface, ...], routes: Routes, reached: str) -> tuple[str, ...]:
    """Return the addresses that others may reach a host by, the likeliest first.

    That is the one that SSH came to, then those of the interface of the default route.

    Args:
        interfaces: Of the host.
        routes: Of the host.
        reached: The address that SSH came to; "" where unknown.
    """
    found = [
        (address.partition("/")[0], interface.name)
        for interface in interfaces
        if interface.is_up and not _INSIDE.match(interface.name)
        for address in interface.addresses
        if is_usable(address.partition("/")[0])
    ]
    first = sorted(found, key=lambda one: (one[0] != reached, one[1] not in routes.default[:1]))
    return tuple(dict.fromkeys(address for address, _ in first))


def devices(sysfs: str, links: str) -> tuple[Device, ...]:
    """Return the RDMA devices of a host, one for each port.

    Args:
        sysfs: Lines PATH:CONTENT of /sys/class/infiniband; "" without devices.
        links: The output of `rdma -j link`, which tells the interface where sysfs does not; "" without.
    """
    ports: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for line in sysfs.splitlines():
        if file := _FILE.fullmatch(line.strip()):
            name, port, path, content = file.groups()
            ports[name, int(port)][path] = content.strip()
    interfaces = _interfaces(links)
    return tuple(_device(name, port, ports[name, port], interfaces) for name, port in sorted(ports))


def _interfaces(links: str) -> dict[tuple[str, int], str]:
    rows = []
    with contextlib.suppress(ValueError, RecursionError):
        rows = json.loads(links or "[]")
    found = {}
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict) and isinstance(row.get("port"), int) and row.get("netdev"):
            found[str(row.get("ifname")), row["port"]] = str(row["netdev"])
    return found


def _device(name: str, port: int, files: dict[str, str], interfaces: dict[tuple[str, int], str]) -> Device:
    owners = [content for path, content in sorted(files.items()) if path.startswith("gid_attrs/ndevs/")]
    gids = tuple(
        Gid(index, files[f"gids/{index}"], files.get(f"gid_attrs/types/{index}", ""))
        for index in sorted(int(path[5:]) for path in files if re.fullmatch(r"gids/\d+", path))
        if files[f"gids/{index}"].strip("0:")
    )
    return Device(
        name=name,
        interface=interfaces.get((name, port)) or (owners[0] if owners else name),
        port=port,
        state=files.get("state", "").partition(": ")[2],  # '4: ACTIVE'
        speed=files.get("rate", ""),
        layer=files.get("link_layer", ""),
        gids=gids,
    )
