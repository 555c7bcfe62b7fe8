"""Merge what the ranks write so that lines stay whole, and prompts are seen."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

SILENCE_S = 0.05  # a partial line is shown when its rank has been silent for so long,
AGE_S = 0.2  # or has been writing it for so long,
LONG_BYTES = 1 << 16  # or when it is so long
_LINE_STARTS = re.compile(rb"(\n|\r(?!\n))(?=.)", re.DOTALL)


@dataclass
class _Stream:
    """What one rank has written to one stream and is not out yet, and when its first and last bytes came."""

    pending: bytearray = field(default_factory=bytearray)
    first: float = 0.0
    last: float = 0.0


@dataclass
class _Screen:
    """Where output appears: the rank whose line is open there, and whether it just returned to its start."""

    owner: int | None = None
    returned: bool = False


class Lines:
    """Takes bytes of any rank, gives back bytes in the order in which they are to be shown.

    A line that is complete goes out at once. A partial one (a prompt, a progress bar) goes out after a
    silence; if another rank writes meanwhile it is cut with a newline, so that the other's line is whole.
    """

    def __init__(self, prefixes: dict[int, dict[int, bytes]], *, one_screen: bool) -> None:
        """Prepare for output.

        Args:
            prefixes: By stream (1, 2), by rank: what each line begins with; none for those absent.
            one_screen: Whether both streams appear on one terminal.
        """
        self._prefixes = prefixes
        screen = _Screen()
        self._screens = {1: screen, 2: screen if one_screen else _Screen()}
        self._streams: dict[tuple[int, int], _Stream] = {}

    def feed(self, rank: int, stream: int, data: bytes, now: float) -> bytes:
        """Take what a rank wrote at a time (seconds); return what is to be shown of it at once."""
        held = self._streams.setdefault((rank, stream), _Stream())
        if not held.pending:
            held.first = now
        held.last = now
        end = data.rfind(b"\n") + 1
        if not end and len(held.pending) + len(data) < LONG_BYTES:
            held.pending += data
            return b""
        whole = bytes(held.pending) + (data[:end] if end else data)
        held.pending[:] = data[end:] if end else b""
        held.first = now
        if len(held.pending) >= LONG_BYTES:
            whole += bytes(held.pending)
            held.pending.clear()
        return self._show(rank, stream, whole)

    def due(self, now: float) -> list[tuple[int, bytes]]:
        """Return the partial lines that are to be shown now, with their streams."""
        ripe = [key for key, held in self._streams.items() if held.pending and _due_at(held) <= now]
        return [self._flush(key) for key in ripe]

    def next_due(self) -> float | None:
        """Return when `due` will have something, None while nothing is held."""
        return min((_due_at(held) for held in self._streams.values() if held.pending), default=None)

    def rest(self) -> list[tuple[int, bytes]]:
        """Return everything that is held, at the end."""
        return [self._flush(key) for key, held in self._streams.items() if held.pending]

    def _flush(self, key: tuple[int, int]) -> tuple[int, bytes]:
        rank, stream = key
        text = bytes(self._streams[key].pending)
        self._streams[key].pending.clear()
        return stream, self._show(rank, stream, text)

    def _show(self, rank: int, stream: int, text: bytes) -> bytes:
        screen = self._screens[stream]
        cut = b"\n" if screen.owner not in (None, rank) else b""
        fresh = bool(cut) or screen.owner is None or screen.returned
        prefix = self._prefixes.get(stream, {}).get(rank, b"")
        if prefix:
            # A function, since a prefix may hold what a replacement pattern would read as its own.
            text = (prefix if fresh else b"") + _LINE_STARTS.sub(lambda found: found[1] + prefix, text)
        screen.owner = None if text.endswith(b"\n") else rank
        screen.returned = text.endswith(b"\r")
        return cut + text


def _due_at(held: _Stream) -> float:
    return min(held.last + SILENCE_S, held.first + AGE_S)


def prefixes(size: int, *, coloured: bool) -> dict[int, bytes]:
    """Return `[R] ` for every rank."""
    if not coloured:
        return {rank: f"[{rank}] ".encode() for rank in range(size)}
    return {rank: f"\x1b[{31 + rank % 6}m[{rank}]\x1b[0m ".encode() for rank in range(size)}
