"""Answer what is asked on standard input, one thing after the other, until it ends."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Any, BinaryIO

from . import frames, jobs, place, tree

# So that whoever waits for a long answer knows that the connection is still there.
ALIVE_S = 5.0


class Server:
    """One connection's.

    Attributes:
        source, out: Where frames come from and go to.
        looks: What was told about jobs over this connection.
    """

    def __init__(self, source: BinaryIO, out: BinaryIO) -> None:
        self.source = source
        self.out = out
        self.looks = jobs.Looks()
        self._lock = threading.Lock()

    def send(self, head: dict[str, Any], body: bytes = b"") -> None:
        """Write a frame."""
        with self._lock:
            self.out.write(frames.packed(head, body))
            self.out.flush()

    def read(self) -> tuple[dict[str, Any], bytes]:
        """Return the next frame."""
        return frames.read(self.source)

    def beat(self) -> None:
        """Say again and again that this process lives."""
        pause = threading.Event()
        with contextlib.suppress(OSError, ValueError):
            while not pause.wait(ALIVE_S):
                self.send({"alive": True})

    def serve(self) -> None:
        """Answer until nobody asks any more."""
        while True:
            try:
                head, body = self.read()
            except EOFError:
                return
            try:
                self._answer(head, body)
            except Exception as error:
                # Those of the jobkit here and ours; anything else ends this process, and its text is shown.
                if not hasattr(error, "exit_status"):
                    raise
                self.send({"error": str(error), "status": int(error.exit_status)})
                if head["ask"] == "sync":
                    self._drop()

    def _drop(self) -> None:
        """Read over the files that are still coming, until whoever sends them has read what went wrong."""
        with contextlib.suppress(EOFError):
            while True:
                self.read()

    def _answer(self, head: dict[str, Any], body: bytes) -> None:
        if head["ask"] == "sync":
            tree.receive(self, head["name"], body)
        elif head["ask"] == "take":
            self.send({"jobkit": jobs.take(head["package"])})
        elif head["ask"] == "call":
            self.send({"call": jobs.call(head["id"])})
        elif head["ask"] == "outpost":
            self.send(place.outpost(head, body))
        elif head["ask"] == "see":
            self.send(place.see(head["workdir"]))
        elif head["ask"] == "place":
            self.send(place.make(head))
        elif head["ask"] == "forget":
            place.forget(head["id"], head["token"])
            self.send({})
        elif head["ask"] == "submit":
            jobs.submit(body)
            self.send({})
        elif head["ask"] == "look":
            self.send(*self.looks.look(head, body))
        elif head["ask"] == "cancel":
            jobs.cancel(head["job"])
            self.send({})


def main(marker: str) -> None:
    """Serve this process's standard input; what is written before the marker is a login shell's."""
    sys.path[:] = [folder for folder in sys.path if folder]
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints does not disturb
    server = Server(sys.stdin.buffer, out)
    with contextlib.suppress(BrokenPipeError):
        out.write(f"\n{marker}\n".encode())
        server.send({"python": sys.executable, "jobkit": jobs.version()})
        threading.Thread(target=server.beat, daemon=True).start()
        server.serve()
    # What is left in a buffer has no reader any more.
    os._exit(0)
