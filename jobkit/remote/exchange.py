"""Where the keeper of a detached job is called by the outposts of its other hosts."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Any

from jobkit.agent import introduction
from jobkit.agent.relay import keep_alive
from jobkit.env.addresses import LOOPBACK, addresses
from jobkit.errors import LaunchError, complaint

_INTRODUCTION_S = 10.0  # for a caller to say who it is
_SILENCE_MS = 8000  # of a host that was sent something
_AT_ONCE = 64  # callers who have not said who they are


class Exchange:
    """Connections of outposts that wait to be asked, by the number of their host.

    Attributes:
        listeners: Called, in a thread, whenever there is one more.
    """

    def __init__(self, ports: tuple[int, int] | None = None) -> None:
        """Begin to listen, on one of these ports.

        Raises:
            LaunchError: None of them is free.
        """
        self.listeners: set[Callable[[], None]] = set()
        self._secret = secrets.token_hex(32)
        self._idle: dict[int, list[socket.socket]] = {}
        self._lock = threading.Lock()
        self._turns = threading.Semaphore(_AT_ONCE)
        self._server = _server(ports)
        self._is_open = True
        threading.Thread(target=self._answer, daemon=True).start()

    def about(self, address: str) -> dict[str, Any]:
        """Return what an outpost has to know.

        Args:
            address: At which others reach this host, as far as that is known.
        """
        own = [*filter(None, [address]), *addresses(""), socket.gethostname(), *LOOPBACK]
        places = list(dict.fromkeys(own))
        return {"addresses": places, "port": self._server.getsockname()[1], "secret": self._secret}

    def take(self, node: int) -> socket.socket | None:
        """Return a connection of a host that is still there, and is the caller's from now on."""
        with self._lock:
            waiting = self._idle.get(node, [])
            while waiting:
                connection = waiting.pop(0)
                if _is_there(connection):
                    return connection
                connection.close()
        return None

    def close(self) -> None:
        """Hang up; outposts that nobody has asked end."""
        self._is_open = False
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        with self._lock:
            for connection in (one for waiting in self._idle.values() for one in waiting):
                connection.close()
            self._idle.clear()

    def _answer(self) -> None:
        while self._is_open:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self._turns.acquire()
            threading.Thread(target=self._admit, args=(connection,), daemon=True).start()

    def _admit(self, connection: socket.socket) -> None:
        """Keep a connection whose other end has shown that it is of this job."""
        node = None
        try:
            connection.settimeout(_INTRODUCTION_S)
            with contextlib.suppress(OSError, ValueError, KeyError):
                node = self._introduced(connection)
        finally:
            self._turns.release()
        with self._lock:
            if node is None or not self._is_open:
                connection.close()
                return
            self._idle.setdefault(node, []).append(connection)
        for heard in list(self.listeners):
            heard()

    def _introduced(self, connection: socket.socket) -> int | None:
        nonce = introduction.nonce()
        connection.sendall(f"{nonce}\n".encode())
        text = b""
        while not text.endswith(b"\n"):
            data = connection.recv(introduction.MOST)
            if not data or len(text) > introduction.MOST:
                return None
            text += data
        known = introduction.heard(self._secret, nonce, text.decode(errors="replace"))
        if known is None:
            return None
        who, answer = known
        connection.sendall(f"{answer}\n".encode())
        connection.settimeout(None)
        keep_alive(connection)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE_MS)
        return int(who["node"])


def _server(ports: tuple[int, int] | None) -> socket.socket:
    for port in (0,) if ports is None else range(ports[0], ports[1] + 1):
        with contextlib.suppress(OSError):
            return socket.create_server(("", port))
    wrong = "none of them is free for the outposts of the other hosts"
    raise LaunchError(complaint("network.ports", wrong, got=ports))


def _is_there(connection: socket.socket) -> bool:
    try:
        return bool(connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
    except OSError:
        return False
