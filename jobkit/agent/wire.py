"""Frames between a launcher and an agent: a 4-byte length, a 1-byte kind, and the rest."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Iterator

from jobkit.agent.events import Done, Event, Exited, Output, Problem, Started
from jobkit.env.record import RankExit

# From the launcher.
REQUEST, STDIN, STDIN_END, SIGNAL, TERMINATE, PING = b"R", b"I", b"E", b"S", b"T", b"P"
# From the agent. CREDIT says how many more bytes of standard input it takes.
STARTED, OUTPUT, EXITED, PROBLEM, DONE, PONG, CREDIT = b"s", b"o", b"x", b"p", b"d", b"g", b"c"

STDIN_WINDOW = 1 << 20  # bytes of standard input that may be under way

_LENGTH, _OUTPUT_HEAD = struct.Struct("!I"), struct.Struct("!IB")


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return _LENGTH.pack(len(payload) + 1) + kind + payload


def whole(data: bytes | bytearray) -> int:
    """Return how many of the bytes are complete frames.

    >>> whole(frame(PING) + frame(STDIN, b"abc")[:-1])
    5
    """
    end = 0
    while len(data) >= end + _LENGTH.size:
        following = end + _LENGTH.size + int(_LENGTH.unpack_from(data, end)[0])
        if following > len(data):
            break
        end = following
    return end


class Decoder:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Add what was read and yield kind and payload of every frame that is complete."""
        self._pending += data
        while len(self._pending) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._pending)[0]
            if len(self._pending) < end:
                return
            kind, payload = bytes(self._pending[4:5]), bytes(self._pending[5:end])
            del self._pending[:end]
            yield kind, payload


def encode_event(event: Event) -> bytes:
    """Return an event's frame."""
    if isinstance(event, Output):
        return frame(OUTPUT, _OUTPUT_HEAD.pack(event.rank, event.stream) + event.data)
    return frame(_KINDS[type(event)], json.dumps(dataclasses.asdict(event)).encode())


def decode_event(kind: bytes, payload: bytes) -> Event | None:
    """Return the event of a frame; None for a frame that carries none."""
    if kind == OUTPUT:
        rank, stream = _OUTPUT_HEAD.unpack_from(payload)
        return Output(rank, stream, payload[_OUTPUT_HEAD.size :])
    if kind not in (STARTED, EXITED, PROBLEM, DONE):
        return None
    said = json.loads(payload)
    if kind == STARTED:
        return Started(**said)
    if kind == EXITED:
        return Exited(RankExit(**said["exit"]))
    if kind == PROBLEM:
        return Problem(**said)
    return Done(said["first"] and RankExit(**said["first"]), said["status"])


_KINDS: dict[type, bytes] = {Started: STARTED, Exited: EXITED, Problem: PROBLEM, Done: DONE}
