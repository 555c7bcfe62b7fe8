"""Gateways (ProxyJump): one connection to each, whatever the number of hosts behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

KEEPALIVE_S = 15

_Key = tuple[object, ...]
_shared: dict[_Key, Any] = {}
_opening: dict[int, threading.Lock] = {}
_lock = threading.Lock()


def share(connection: Any, kind: str, secure: Callable[[Any], None]) -> Any:
    """Return the connection of this process to a gateway, for one of fabric's that is not open yet.

    It stays until the process ends, as those that go through it do.

    Args:
        connection: The gateway's; it may have one of its own, which is shared too.
        kind: Whose keys are believed, so that nobody goes through a gateway that was asked less.
        secure: Called with a connection that is the first of its kind.
    """
    own = connection.gateway
    if own and not isinstance(own, str):
        connection.gateway = share(own, kind, secure)
    key = (kind, connection.user, connection.host, connection.port, _name(connection.gateway))
    with _lock:
        if key not in _shared:
            secure(connection)
            _shared[key] = connection
            _opening[id(connection)] = threading.Lock()
        return _shared[key]


def _name(gateway: Any) -> object:
    return gateway if isinstance(gateway, str) or not gateway else id(gateway)


def open_(gateway: Any, open_one: Callable[[Any], None]) -> None:
    """Open a shared gateway, and those before it, unless they are open.

    Args:
        gateway: As `share` returned it.
        open_one: Opens a connection.
    """
    if gateway.gateway and not isinstance(gateway.gateway, str):
        open_(gateway.gateway, open_one)
    with _opening[id(gateway)]:
        if not gateway.is_connected:
            open_one(gateway)
            gateway.transport.set_keepalive(KEEPALIVE_S)
