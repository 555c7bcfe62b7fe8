"""Merge what the ranks write so that lines stay whole, and prompts are seen."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

SILENCE_S = 0.05  # a partial line is shown when its rank has been silent for so long,
AGE_S = 0.2  # or has been writing it for so long,
LONG_BYTES = 1 << 16  # or when it is so long
HOLD_S = 1.0  # how long a line that is open may keep the other ranks' waiting
_LINE_STARTS = re.compile(rb"(\n|\r(?!\n))(?=.)", re.DOTALL)


@dataclass
class _Stream:
    """What one rank has written to one stream and is not out yet, and when its first and last bytes came."""

    pending: bytearray = field(default_factory=bytearray)
    first: float = 0.0
    last: float = 0.0


@dataclass
class _Screen:
    """Where output appears.

    Attributes:
        owner: The rank whose line is open.
        until: When others may cut it.
        returned: Whether it has just returned to the line's start.
    """

    owner: int | None = None
    until: float = 0.0
    returned: bool = False


class Lines:
    """Takes bytes of any rank, gives back bytes in the order in which they are to be shown.

    A line that is complete goes out at once. A partial one (a prompt, a progress bar) goes out after a
    silence; then the others wait a while for its rest: an unbuffered `print(rank, x)` writes `x` only when
    that is computed. After that, and at once for a progress bar, it is cut with a newline, so that the
    others' lines are whole.
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
        held.pending += data
        if len(held.pending) >= LONG_BYTES:
            return self._take((rank, stream), len(held.pending), now)
        if self._is_blocked((rank, stream)) and now < self._screens[stream].until:
            return b""
        return self._take((rank, stream), held.pending.rfind(b"\n") + 1, now)

    def due(self, now: float) -> list[tuple[int, bytes]]:
        """Return what is to be shown now of what was held, with its streams."""
        shown = []
        for key in self._streams:
            # What one shows may block the next.
            if self._streams[key].pending and self._due_at(key) <= now:
                shown.append((key[1], self._take(key, self._ripe_bytes(key, now), now)))
        return shown

    def next_due(self) -> float | None:
        """Return when `due` will have something, None while nothing is held."""
        return min((self._due_at(key) for key, held in self._streams.items() if held.pending), default=None)

    def rest(self, now: float) -> list[tuple[int, bytes]]:
        """Return everything that is held, at the end."""
        waiting = [(key, len(held.pending)) for key, held in self._streams.items() if held.pending]
        return [(key[1], self._take(key, n_bytes, now)) for key, n_bytes in waiting]

    def _is_blocked(self, key: tuple[int, int]) -> bool:
        return self._screens[key[1]].owner not in (None, key[0])

    def _due_at(self, key: tuple[int, int]) -> float:
        held = self._streams[key]
        ripe = held.first if b"\n" in held.pending else _partial_due_at(held)
        return max(ripe, self._screens[key[1]].until) if self._is_blocked(key) else ripe

    def _ripe_bytes(self, key: tuple[int, int], now: float) -> int:
        """Return how much is due: whole lines, and a partial one behind them if that is old enough."""
        held = self._streams[key]
        whole = held.pending.rfind(b"\n") + 1
        return len(held.pending) if not whole or _partial_due_at(held) <= now else whole

    def _take(self, key: tuple[int, int], n_bytes: int, now: float) -> bytes:
        held = self._streams[key]
        text = bytes(held.pending[:n_bytes])
        del held.pending[:n_bytes]
        if text:
            held.first = now
        return self._show(*key, text, now) if text else b""

    def _show(self, rank: int, stream: int, text: bytes, now: float) -> bytes:
        screen = self._screens[stream]
        cut = b"\n" if screen.owner not in (None, rank) else b""
        fresh = bool(cut) or screen.owner is None
        prefix = self._prefixes.get(stream, {}).get(rank, b"")
        is_open = not text.endswith(b"\n")
        if is_open and (fresh or b"\n" in text):
            screen.until = now if b"\r" in text else now + HOLD_S
        if prefix:
            # A function, since a prefix may hold what a replacement pattern would read as its own.
            starts = fresh or screen.returned
            text = (prefix if starts else b"") + _LINE_STARTS.sub(lambda found: found[1] + prefix, text)
        screen.owner, screen.returned = rank if is_open else None, text.endswith(b"\r")
        return cut + text


def _partial_due_at(held: _Stream) -> float:
    return min(held.last + SILENCE_S, held.first + AGE_S)


def prefixes(size: int, *, coloured: bool) -> dict[int, bytes]:
    """Return `[R] ` for every rank."""
    if not coloured:
        return {rank: f"[{rank}] ".encode() for rank in range(size)}
    return {rank: f"\x1b[{31 + rank % 6}m[{rank}]\x1b[0m ".encode() for rank in range(size)}
