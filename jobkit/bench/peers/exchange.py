"""The limit of TCP: two processes send each other as many bytes over one connection, and do nothing else.

Written in Python without harm: a call of send or recv moves up to 256 KiB, which takes the kernel some 50 µs,
and the interpreter adds about 1 µs to it. Both sides try without sleeping, as the engines under test do.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

import numpy as np

from .library import OUT, Call, Library

ADDRESS, PORT, RANK = "JOBKIT_BENCH_ADDRESS", "JOBKIT_BENCH_PORT", "JOBKIT_BENCH_RANK"
_PIECE = 256 << 10  # bytes a call: pieces of 128 KiB to 1 MiB differ by less than the noise


def make() -> Library:
    """Connect the two ranks."""
    return Exchange()


class Exchange(Library):
    """One TCP connection."""

    forms = (OUT,)
    version = "TCP, two ways"
    size = 2

    def __init__(self) -> None:
        self.rank = int(os.environ[RANK])
        address = (os.environ[ADDRESS], int(os.environ[PORT]))
        self._socket = _listen(address) if self.rank == 0 else _call(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)

    def barrier(self) -> None:
        """Exchange a byte."""
        _both_ways(self._socket, memoryview(b"x"), memoryview(bytearray(1)))

    def array(self, values: np.ndarray[Any, Any], dtype: str) -> Any:  # noqa: ARG002 bytes are bytes
        """Return the values."""
        return values

    def call(self, op: str, x: Any, form: str) -> Call:  # noqa: ARG002 one operation, one form
        """Return the exchange of `x` for the partner's."""
        out = np.ones_like(x)
        there, back = memoryview(x).cast("B"), memoryview(out).cast("B")
        connection = self._socket
        return Call(lambda: _both_ways(connection, there, back), out)


def _listen(address: tuple[str, int]) -> socket.socket:
    with socket.create_server(address, reuse_port=True) as listener:
        return listener.accept()[0]


def _call(address: tuple[str, int]) -> socket.socket:
    """Connect, again and again until the other rank listens; the driver has the deadline."""
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(address)


def _both_ways(connection: socket.socket, there: memoryview, back: memoryview) -> None:
    sent = received = 0
    while sent < len(there) or received < len(back):
        gone = _moved(connection.send, there[sent : sent + _PIECE])
        come = _moved(connection.recv_into, back[received : received + _PIECE])
        sent, received = sent + gone, received + come
        if not gone and not come:
            os.sched_yield()  # where the two have to share a processor, the other one is needed


def _moved(move: Callable[[memoryview], int], piece: memoryview) -> int:
    """Return how many bytes were sent or received now, 0 where there is nothing to do or no room."""
    try:
        return move(piece) if piece else 0
    except BlockingIOError:
        return 0
