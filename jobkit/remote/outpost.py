"""What a detached job has on every host but its first: it calls the keeper, and brings agents when asked.

`python -m jobkit.remote.outpost` reads from its standard input whom to call and what the ranks of this host
are given that crosses no network again: secrets. Its environment is what they start from. It writes a byte
to its standard output once it has called, and ends when the keeper is gone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

from jobkit.agent import relay, wire
from jobkit.agent.request import Request, decode, encode
from jobkit.env.scrub import scrub
from jobkit.jobs import environment
from jobkit.remote import package

_FIRST_S, _AGAIN_S = 15.0, 5.0  # for the keeper to answer
_CONNECT_S = 3.0
_SILENCE_S = 6.0  # of a keeper that shows every two seconds that it lives
_PAUSE_S = 0.2


class Outpost:
    """Calls the keeper, from as many threads as it may ask at once.

    Args:
        about: `addresses`, `port` and `secret` of the keeper; this host's `node`; `slots`, attempts at once;
            `package`, `inherit` and `secrets` of the job.
    """

    def __init__(self, about: dict[str, Any]) -> None:
        self._about = about
        self._place: str | None = None  # at which the keeper has answered
        self.last = ""

    def serve(self, has_called: int) -> bool:
        """Call, again and again, until the keeper is gone; return whether it ever answered.

        Args:
            has_called: Where a byte is written when it has.
        """
        first = self._call(_FIRST_S)
        if first is None:
            return False
        with contextlib.suppress(OSError):
            os.write(has_called, b".")
        os.close(has_called)
        slots = [threading.Thread(target=self._slot, args=(None,)) for _ in range(self._about["slots"] - 1)]
        for slot in slots:
            slot.start()
        self._slot(first)
        for slot in slots:
            slot.join()
        return True

    def _slot(self, connection: socket.socket | None) -> None:
        while connection := connection or self._call(_AGAIN_S):
            asked = _first_frame(connection)
            if asked is not None:
                command = [sys.executable, *package.words(self._about["package"], "jobkit.agent")]
                own = wire.frame(wire.REQUEST, encode(self._own(decode(asked))))
                relay.carry(connection, command, own, _SILENCE_S)
            connection.close()
            connection = None

    def _own(self, asked: Request) -> Request:
        """Return what is asked for, with what only this host has."""
        environ = environment.of_ranks(scrub(os.environ), inherit=self._about["inherit"])
        return dataclasses.replace(
            asked, environ=environ, overlay={**asked.overlay, **self._about["secrets"]}
        )

    def _call(self, patience_s: float) -> socket.socket | None:
        """Return a connection to the keeper; None where it is gone."""
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            for address in [self._place] if self._place else self._about["addresses"]:
                try:
                    return self._connected(address)
                except (OSError, ValueError) as error:
                    self.last = f"{address} port {self._about['port']}: {error}"
                    if self._place and isinstance(error, ConnectionRefusedError):
                        return None
            time.sleep(_PAUSE_S)
        return None

    def _connected(self, address: str) -> socket.socket:
        connection = socket.create_connection((address, self._about["port"]), timeout=_CONNECT_S)
        try:
            if not relay.introduce(connection, self._about["secret"], {"node": self._about["node"]}):
                raise ValueError("answers, and is not the job's keeper")
            connection.settimeout(None)
            relay.keep_alive(connection)
        except BaseException:
            connection.close()
            raise
        self._place = address
        return connection


def _first_frame(connection: socket.socket) -> bytes | None:
    """Return the first request, and leave what follows it; None at the end of the connection."""
    with contextlib.suppress(OSError):
        head = _read(connection, 5)
        if head[4:] == wire.REQUEST:
            return _read(connection, int.from_bytes(head[:4], "big") - 1) or None
    return None


def _read(connection: socket.socket, n_bytes: int) -> bytes:
    data = b""
    while len(data) < n_bytes:
        part = connection.recv(n_bytes - len(data))
        if not part:
            return b""
        data += part
    return data


def main() -> int:
    """Serve one job on this host."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)
    outpost = Outpost(json.loads(sys.stdin.buffer.read()))
    has_called = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    if outpost.serve(has_called):
        return 0
    sys.stderr.write(f"does not reach the job's first host: {outpost.last}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
