"""^C and TERM, for a command line that has something to finish first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ASKED = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where ^C raises KeyboardInterrupt."""


@contextmanager
def terminable() -> Iterator[None]:
    """Make SIGTERM raise Terminated in the main thread."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(_signum: int, _frame: FrameType | None) -> None:
    raise Terminated


@contextmanager
def deferred() -> Iterator[None]:
    """Hold ^C and TERM back until the end of the block."""
    seen: list[int] = []
    before = {signum: signal.signal(signum, lambda got, _: seen.append(got)) for signum in _ASKED}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    if seen:
        signal.raise_signal(seen[0])
