"""Read from `ifconfig` and `netstat -rn` of macOS the networks that a host reaches."""

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
