"""The networks that a host reaches; read from `ifconfig` and `netstat -rn` of macOS."""

from __future__ import annotations

import ipaddress
import re

from jobkit.hosts.model import Network

# 'inet 192.168.1.7 netmask 0xffffff00 broadcast …', 'inet 10.8.0.2 --> 10.8.0.1 netmask 0xffffffff'
_INET = re.compile(r"\s+inet (\S+)(?: --> \S+)? netmask (0x[0-9a-f]{8})")


def from_ifconfig(text: str) -> tuple[Network, ...]:
    """Return the IPv4 networks of a machine's own addresses."""
    found = []
    interface = ""
    for line in text.splitlines():
        if line[:1].strip():
            interface = line.partition(":")[0]
        elif inet := _INET.match(line):
            bits = int(inet.group(2), 16).bit_count()
            found += _network(inet.group(1), bits, interface)
    return tuple(found)


def from_netstat(text: str) -> tuple[Network, ...]:
    """Return the IPv4 networks that a machine has routes to, but for its default route."""
    found = []
    column = None
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["Destination"]:
            column = words.index("Netif") if "Netif" in words else None
        elif words[:1] == ["Internet6:"]:
            break
        elif column is not None and len(words) > column:
            found += _route(words[0], words[column])
    return tuple(found)


def _route(destination: str, interface: str) -> list[Network]:
    """Return the network of a destination in BSD's short form: '10.8/16', '127', '192.168.1', '10.0.0.7'."""
    written, _, bits = destination.partition("/")
    parts = written.split(".")
    length = int(bits) if bits.isdecimal() else 8 * len(parts)
    return _network(".".join((*parts, *["0"] * (4 - len(parts)))), length, interface)


def _network(address: str, bits: int, interface: str) -> list[Network]:
    """Return the network; nothing for 'default', loopback and what is not IPv4."""
    try:
        network = ipaddress.IPv4Network((address, bits), strict=False)
    except ValueError:
        return []
    return [] if network.is_loopback or not bits else [Network(str(network), interface)]


def around(known: tuple[Network, ...], address: str, interface: str = "") -> Network | None:
    """Return the smallest network that an address is in with others.

    Args:
        known: Networks.
        address: IPv4.
        interface: Through which; "" for any.
    """
    found = [
        network
        for network in known
        if interface in ("", network.interface) and _length(network) < 32 and _has(network, address)
    ]
    return max(found, key=_length, default=None)


def _length(network: Network) -> int:
    return int(network.cidr.partition("/")[2])


def _has(network: Network, address: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network.cidr)
    except ValueError:
        return False


def is_usable(address: str) -> bool:
    """Say whether a text is an IPv4 address that other hosts can reach this one by."""
    try:
        found = ipaddress.IPv4Address(address)
    except ValueError:
        return False
    return not (found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast)
