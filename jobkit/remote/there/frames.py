"""What goes over the connection: a line of JSON, and as many bytes as it says."""

from __future__ import annotations

import json
from typing import Any, Protocol

# A line of ours is shorter: long lists are bodies.
LINE_BYTES = 1 << 20


class Source(Protocol):
    """What frames are read from."""

    def read(self, size: int, /) -> bytes:
        """Return this many bytes; fewer only at the end."""

    def readline(self, size: int, /) -> bytes:
        """Return a line with its end; without it only at the end, or when it is longer."""


class RefusedError(Exception):
    """What was asked for cannot be done.

    Attributes:
        exit_status: What the command line exits with.
    """

    def __init__(self, text: str, exit_status: int = 125) -> None:
        super().__init__(text)
        self.exit_status = exit_status


def packed(head: dict[str, Any], body: bytes = b"") -> bytes:
    """Return a frame.

    >>> packed({"need": 1}, b"ab")
    b'{"need": 1, "size": 2}\\nab'
    """
    return json.dumps({**head, "size": len(body)}).encode() + b"\n" + body


def read(source: Source) -> tuple[dict[str, Any], bytes]:
    """Return the next frame.

    Raises:
        EOFError: The other side has gone.
        ValueError: It is no frame.
    """
    line = source.readline(LINE_BYTES)
    if not line.endswith(b"\n"):
        if len(line) >= LINE_BYTES:
            raise ValueError("a line without an end")
        raise EOFError
    head = json.loads(line)
    body = source.read(head["size"])
    if len(body) < head["size"]:
        raise EOFError
    return head, body
