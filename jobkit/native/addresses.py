"""This host's addresses, where no launcher says them, and a port kept until the engine listens there."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

# A packet to it would take the default route; none is sent. Source: RFC 5737.
ELSEWHERE = "192.0.2.1"
LOOPBACK = "127.0.0.1"


def addresses(towards: str) -> list[str]:
    """Return the addresses at which the others may reach this rank, the likeliest first.

    These are the one that this host uses towards the host `towards`, and the one it uses towards the rest of
    the world.
    """
    found = [_own(host) for host in (towards, ELSEWHERE) if host]
    return list(dict.fromkeys(address for address in found if address)) or [LOOPBACK]


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """Keep a port for this rank until the engine has listened on it."""
    with socket.socket() as reserved:
        reserved.bind(("", 0))
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield reserved.getsockname()[1]


def _own(host: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError:  # no such name, or no route
            return None
        return str(probe.getsockname()[0])
