"""The IPv4 addresses of this host that other hosts may be given."""

from __future__ import annotations

import _socket
import os
import sys

from jobkit.errors import LaunchError, complaint

LOOPBACK = ("127.0.0.1",)
# Interfaces of bridges, containers and tunnels: their addresses mean nothing, or the same, on other hosts.
_INNER = (
    "lo", "docker", "br-", "virbr", "podman", "cni", "flannel", "cali", "kube", "lxc", "lxd",
    "tailscale", "tun", "tap", "wg", "utun", "zt", "ppp", "ipsec",
)  # fmt: skip
_SIOCGIFADDR = 0x8915 if sys.platform == "linux" else 0xC0206921
_REQUEST_BYTES = 40  # struct ifreq
_ADDRESS = slice(20, 24)  # in it: name 16, family 2, port 2, address 4


def addresses(subnet: str, toward: str = "") -> tuple[str, ...]:
    """Return the addresses at which other hosts reach this one, best first; none where it has none.

    Args:
        subnet: "10.0.0.0/8": every address in it, whatever its interface; "" for one that leads to `toward`.
        toward: An address of another host of the job, or of this one as others know it; "" where unknown.

    Raises:
        LaunchError: No address lies in the subnet, or it is none.
    """
    mine = interfaces()
    if subnet:
        inside = tuple(address for _, address in mine if in_subnet(address, subnet))
        if not inside:
            raise LaunchError(_none_inside(subnet, mine))
        return inside
    usable = [address for name, address in mine if not name.startswith(_INNER) and is_global(address)]
    routed = _source(toward) if toward else ""
    return (routed,) if routed in usable else tuple(usable[:1])


def own(given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the addresses that a hostfile gives this host.

    Raises:
        LaunchError: It has another.
    """
    for address in given:
        trial = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        try:
            trial.bind((address, 0))
        except OSError as error:
            there = ", ".join(f"{address} ({name})" for name, address in interfaces()) or "none"
            wrong = f"not an address of {os.uname().nodename}, which has {there}"
            raise LaunchError(complaint("ips of the hostfile", wrong, got=address)) from error
        finally:
            trial.close()
    return given


def is_global(address: str) -> bool:
    """Say whether an address means this host on others too: neither loopback nor link-local.

    >>> [is_global(a) for a in ("127.0.1.1", "169.254.3.4", "10.0.0.1")]
    [False, False, True]
    """
    return not address.startswith(("127.", "169.254.", "0."))


def interfaces() -> list[tuple[str, str]]:
    """Return name and first IPv4 address of every interface that has one."""
    import fcntl

    found = []
    asking = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    for _, name in _socket.if_nameindex():
        request = name.encode()[:15].ljust(_REQUEST_BYTES, b"\0")
        try:
            answer = fcntl.ioctl(asking.fileno(), _SIOCGIFADDR, request)
        except OSError:
            continue  # it has no address
        found.append((name, ".".join(map(str, answer[_ADDRESS]))))
    asking.close()
    return found


def _source(toward: str) -> str:
    """Return the address that the kernel would send from; nothing is sent."""
    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        probe.connect((toward, 9))
        return str(probe.getsockname()[0])
    except OSError:
        return ""
    finally:
        probe.close()


def in_subnet(address: str, subnet: str) -> bool:
    """Say whether an address lies in a network.

    >>> in_subnet("10.2.3.4", "10.0.0.0/8"), in_subnet("10.2.3.4", "10.2.4.0/24")
    (True, False)

    Raises:
        LaunchError: The network is none.
    """
    network, slash, bits = subnet.partition("/")
    try:
        if slash and not (bits.isdigit() and int(bits) <= 32):
            raise ValueError(bits)
        mask = (0xFFFFFFFF << (32 - int(bits or 32))) & 0xFFFFFFFF
        return _number(address) & mask == _number(network) & mask
    except (OSError, ValueError) as error:
        raise LaunchError(
            complaint("network.subnet", "no IPv4 network", got=subnet, expected="10.0.0.0/8")
        ) from error


def _number(address: str) -> int:
    return int.from_bytes(_socket.inet_pton(_socket.AF_INET, address), "big")


def _none_inside(subnet: str, mine: list[tuple[str, str]]) -> str:
    there = ", ".join(f"{address} ({name})" for name, address in mine) or "none"
    return complaint("network.subnet", f"this host has no address in {subnet}; it has {there}")
