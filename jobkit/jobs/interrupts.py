"""^C and TERM, for a command line that has something to finish first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ASKED = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """A signal that asks to end, raised where ^C raises KeyboardInterrupt.

    Attributes:
        signum: Its number.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.strsignal(signum))
        self.signum = signum


@contextmanager
def terminable(*more: signal.Signals) -> Iterator[None]:
    """Make SIGTERM, and `more` signals, raise Terminated in the main thread; not those that are ignored."""
    asked = [each for each in (signal.SIGTERM, *more) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, _terminate) for signum in asked}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _terminate(signum: int, _frame: FrameType | None) -> None:
    raise Terminated(signum)


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
