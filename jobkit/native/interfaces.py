"""Where this host can be reached, and which host it is."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

_SIOCGIFADDR = 0x8915  # of Linux: the IPv4 address of an interface
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NETWORK = Path("/proc/self/ns/net")


def host_identity() -> str:
    """Return what is equal on two processes that reach each other at 127.0.0.1: the boot and the network."""
    try:
        return f"{_BOOT_ID.read_text().strip()}:{_NETWORK.readlink()}"
    except OSError:
        return socket.gethostname()


def addresses() -> list[str]:
    """Return the IPv4 addresses of this host's interfaces, that of its name first, loopback left out."""
    named = _of_name()
    found = _of_interfaces() if sys.platform == "linux" else []
    every = [*(address for address in named if not found or address in found), *found]
    return [each for each in dict.fromkeys(every) if not each.startswith("127.")] or ["127.0.0.1"]


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """Hold a port of this host that the engine, and nobody else, can listen on meanwhile."""
    with socket.socket() as held:
        held.bind(("", 0))
        # Set after binding: a port that is bound without it is given to nobody else before.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield held.getsockname()[1]


def _of_name() -> list[str]:
    try:
        infos = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(info[4][0]) for info in infos]


def _of_interfaces() -> list[str]:
    import fcntl

    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            with contextlib.suppress(OSError):  # it has no address
                found.append(socket.inet_ntoa(fcntl.ioctl(asked, _SIOCGIFADDR, request)[20:24]))
    return found
