from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from jobkit.env.tcp import callers, wire
from jobkit.env.tcp.callers import Caller, Callers
from jobkit.errors import LaunchError


class Desk:
    """Callers of a listener of its own, and what they did."""

    def __init__(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.address = listener.getsockname()
        self.taken: list[bytes] = []
        self.gone: list[Caller] = []
        self.said: list[str] = []
        self.callers = Callers(listener, 2, self.take, self.gone.append, self.said.append)

    def take(self, caller: Caller, code: bytes, payload: bytes) -> None:
        assert code == wire.NOBODY
        self.taken.append(payload)
        if payload == b"echo":
            self.callers.put(caller, b"x" * (1 << 22), b"end")

    def call(self) -> socket.socket:
        return socket.create_connection(self.address)

    def until(self, done: object) -> None:
        assert callable(done)
        while not done():
            self.callers.step(1.0)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.callers.close()


def test_messages_are_taken_one_by_one(desk: Desk) -> None:
    with desk.call() as caller:
        caller.sendall(wire.frame(b"one") + wire.frame(b"two")[:10])
        desk.until(lambda: desk.taken == [b"one"])
        caller.sendall(wire.frame(b"two")[10:])
        desk.until(lambda: desk.taken == [b"one", b"two"])
    desk.until(lambda: desk.gone)


def test_what_a_connection_does_not_take_at_once_waits(desk: Desk) -> None:
    with desk.call() as caller:
        caller.sendall(wire.frame(b"echo"))
        desk.until(lambda: desk.taken)
        caller.setblocking(False)
        got = 0
        while got < (1 << 22) + 3:
            try:
                got += len(caller.recv(1 << 20))
            except BlockingIOError:
                desk.callers.step(0.01)
    assert got == (1 << 22) + 3


def test_who_is_silent_is_dropped_in_the_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "_INTRODUCTION_S", 0.05)
    with desk.call():
        desk.until(lambda: desk.gone)
    assert desk.said == ["a caller from 127.0.0.1 was turned away: it did not say who it is"]


def test_without_files_for_callers_it_is_an_error(desk: Desk) -> None:
    class Full:
        """A listener in a process that has no file left."""

        def __init__(self, listener: socket.socket) -> None:
            self.listener = listener

        def _accept(self) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        def __getattr__(self, name: str) -> object:
            return getattr(self.listener, name)

    desk.callers._listener = Full(desk.callers._listener)  # type: ignore[assignment]
    with desk.call(), pytest.raises(LaunchError, match="2 ranks need more open files"):
        desk.callers.step(1.0)
