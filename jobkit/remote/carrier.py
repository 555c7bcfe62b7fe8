"""Carry an agent's bytes between its SSH channel and a socket, and show each end that the other lives."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

from jobkit.agent import wire
from jobkit.remote.connection import Channel, LostError

SILENCE_S = 8.0
PING_S = 2.0
_UNANSWERED = int(SILENCE_S / PING_S)
_BYTES = 1 << 18
_LOOK_S = 0.005


class Carrier:
    """Two threads for one host.

    Its silence is counted in questions without an answer, so that a launcher that was itself stopped (^Z)
    finds nothing amiss when it goes on.
    """

    def __init__(self, channel: Channel) -> None:
        self.near, self._far = socket.socketpair()
        self._channel = channel
        self._unanswered, self._is_delivering, self._is_idle = 0, False, True
        self._threads = [threading.Thread(target=do, daemon=True) for do in (self._out, self._back)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def _out(self) -> None:
        """Carry what the launcher says, and its end; ask now and then, once the agent has its request."""
        with contextlib.suppress(OSError, LostError):
            ask_at: float | None = None
            pending = bytearray()
            while self._unanswered <= _UNANSWERED:
                left_s = None if ask_at is None else max(0.0, ask_at - time.monotonic())
                if select.select([self._far], [], [], left_s)[0]:
                    self._is_idle = False
                    data = self._far.recv(_BYTES)
                    if not data:
                        self._channel.end_input()
                        return
                    pending += data
                    # Whole frames only, so that a question never comes to stand in the middle of one.
                    end = wire.whole(pending)
                    self._channel.write(bytes(pending[:end]))
                    del pending[:end]
                    self._is_idle = not pending
                    ask_at = ask_at or time.monotonic() + PING_S
                elif ask_at is not None:
                    self._unanswered += not self._is_delivering
                    ask_at = time.monotonic() + PING_S
                    self._channel.write(wire.frame(wire.PING))
        self._channel.close()

    def _back(self) -> None:
        """Carry what the agent says, and its end."""
        with contextlib.suppress(OSError):
            while data := self._channel.read_some(_BYTES):
                self._is_delivering = True  # maybe to a slow reader: meanwhile no answer is heard
                self._far.sendall(data)
                self._is_delivering, self._unanswered = False, 0
        with contextlib.suppress(OSError):
            self._far.shutdown(socket.SHUT_WR)

    def settle(self, deadline: float) -> None:
        """Wait until that time for what the launcher has said to be on its way."""
        while time.monotonic() < deadline:
            if not select.select([self._far], [], [], 0)[0] and self._is_idle:
                return
            time.sleep(_LOOK_S)

    def leave(self, deadline: float) -> None:
        """Wait until that time for the agent's end, and close the connection."""
        self._channel.wait(max(0.0, deadline - time.monotonic()))
        self._channel.close()
        for thread in self._threads:
            thread.join()
        self._far.close()
