"""The connections of a listener: messages in, bytes out, in one poll loop.

What strangers can make it hold is bounded: connections, bytes of each, and time.
"""

from __future__ import annotations

import _socket
import errno
import resource
import select
import time

from jobkit.env.tcp import wire
from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable

_STRANGERS = 256  # connections beyond those of the ranks that are held at once
_INTRODUCTION_S = 10.0  # for a caller to say who it is
_TOLD = 16  # callers turned away of whom the user is told


class Caller:
    """One connection.

    Attributes:
        address: Where it comes from.
        rank: Whose it is, once it has proved that; None before.
        since: When it called, by the monotonic clock.
    """

    def __init__(self, connection: _socket.socket, address: str) -> None:
        connection.setblocking(False)
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
        self.socket, self.address = connection, address
        self.rank: int | None = None
        self.since = time.monotonic()
        self.inbox = wire.Inbox(wire.MOST)
        self.outgoing: list[memoryview] = []


class Callers:
    """Everybody who called.

    Args:
        listener: Where they call; closed with them.
        size: Ranks that are expected.
        take: Called with each message: caller, code, payload. May raise Garbage.
        gone: Called when a caller is.
        say: Takes a line for the user.
    """

    def __init__(
        self,
        listener: _socket.socket,
        size: int,
        take: Callable[[Caller, bytes, bytes], None],
        gone: Callable[[Caller], None],
        say: Callable[[str], None],
    ) -> None:
        self._listener, self._size = listener, size
        self._take, self._gone, self._say = take, gone, say
        self._all: dict[int, Caller] = {}
        self._dropped = 0
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._files[1], self._files[1]))
        self._poll = select.poll()
        self._poll.register(listener.fileno(), select.POLLIN)

    def step(self, patience_s: float) -> None:
        """Do what there is to do; wait so long for something.

        Raises:
            LaunchError: The system has no more files for callers.
        """
        for fd, event in self._poll.poll(max(0, int(patience_s * 1000))):
            if fd == self._listener.fileno():
                self._accept()
            elif fd in self._all:
                self._hear(self._all[fd], event)
        late = time.monotonic() - _INTRODUCTION_S
        for caller in self._unknown():
            if caller.since < late:
                self.drop(caller, "it did not say who it is")

    def put(self, caller: Caller, *parts: bytes) -> None:
        """Send bytes, now or when the connection takes them; parts are not copied."""
        caller.outgoing += [memoryview(part) for part in parts]
        self._send(caller)

    def drop(self, caller: Caller, why: str) -> None:
        """Hang up, and say so."""
        self._dropped += 1
        if self._dropped <= _TOLD:
            more = "; of further ones nothing is said" if self._dropped == _TOLD else ""
            self._say(f"a caller from {caller.address} was turned away: {why}{more}")
        self._forget(caller)

    def close(self) -> None:
        """Hang up on everybody."""
        for caller in self._all.values():
            caller.socket.close()
        self._all.clear()
        self._listener.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, self._files)

    def _unknown(self) -> list[Caller]:
        return [caller for caller in self._all.values() if caller.rank is None]

    def _accept(self) -> None:
        try:
            fd, address = self._listener._accept()  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                wrong = f"{self._size} ranks need more open files than are allowed"
                raise LaunchError(complaint("gang", wrong, hint="ulimit -Hn allows more")) from error
            return  # it has gone again
        unknown = self._unknown()
        if len(unknown) >= self._size + _STRANGERS:
            self.drop(min(unknown, key=lambda caller: caller.since), "too many callers")
        self._all[fd] = Caller(_socket.socket(fileno=fd), str(address[0]))
        self._poll.register(fd, select.POLLIN)

    def _hear(self, caller: Caller, event: int) -> None:
        if event & select.POLLOUT:
            self._send(caller)
            return
        try:
            data = caller.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._forget(caller)
            return
        caller.inbox.put(data)
        try:
            while (message := caller.inbox.take()) is not None:
                self._take(caller, *message)
        except wire.Garbage as error:
            self.drop(caller, f"it sent {error}")

    def _send(self, caller: Caller) -> None:
        while caller.outgoing:
            part = caller.outgoing[0]
            try:
                n_bytes = caller.socket.send(part)
            except BlockingIOError:
                self._poll.modify(caller.socket.fileno(), select.POLLIN | select.POLLOUT)
                return
            except OSError:
                self._forget(caller)
                return
            if n_bytes == len(part):
                caller.outgoing.pop(0)
            else:
                caller.outgoing[0] = part[n_bytes:]
        self._poll.modify(caller.socket.fileno(), select.POLLIN)

    def _forget(self, caller: Caller) -> None:
        fd = caller.socket.fileno()
        if self._all.pop(fd, None) is None:
            return
        self._poll.unregister(fd)
        caller.socket.close()
        self._gone(caller)
