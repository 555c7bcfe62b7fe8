"""A table of the ranks that is drawn anew as they go: host, state, and the last line of each."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from jobkit.agent.events import Event, Exited, Output, Started

if TYPE_CHECKING:
    from rich.table import Table

EVERY_S = 0.1
_TAIL_LINES = 20  # of the rank that failed first, shown at the end
_LINE_BYTES = 4096
_ENDS = re.compile(rb"\r\n|\n|\r")
# Colours and movements of the cursor, then every other control character.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x1f\x7f-\x9f]")


@dataclass
class _Rank:
    """What is known of one rank."""

    host: str
    state: str = "waits"
    line: str = ""
    open: bytes = b""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL_LINES))


class Live:
    """The table, on the terminal of standard error."""

    def __init__(self, hosts: Sequence[str]) -> None:
        """Prepare; entering the context begins to draw.

        Args:
            hosts: Of each rank.
        """
        self._ranks = [_Rank(host) for host in hosts]
        self._changed = True
        self._drawn_at = 0.0

    def __enter__(self) -> Live:
        from rich.console import Console
        from rich.live import Live as Drawn

        # What is printed meanwhile appears above.
        console = Console(stderr=True)
        self._drawn = Drawn(console=console, auto_refresh=False, redirect_stdout=False)
        self._drawn.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draw()
        self._drawn.stop()

    def hear(self, event: Event) -> None:
        """Take note of what happens."""
        if isinstance(event, Started):
            self._ranks[event.rank].state = "runs"
        elif isinstance(event, Exited):
            ended = event.exit
            state = "done" if not ended.status else ended.signal or f"status {ended.status}"
            self._ranks[ended.rank].state = state
        elif isinstance(event, Output):
            self._read(self._ranks[event.rank], event.data)
        self._changed = True

    def _read(self, rank: _Rank, data: bytes) -> None:
        *whole, rank.open = _ENDS.split(rank.open + data)
        rank.open = rank.open[-_LINE_BYTES:]
        for line in filter(None, map(plain, whole[-_TAIL_LINES:])):
            rank.tail.append(line)
            rank.line = line
        rank.line = plain(rank.open) or rank.line

    def tail(self, rank: int) -> list[str]:
        """Return the last lines of a rank."""
        found = self._ranks[rank]
        rest = plain(found.open)
        return [*found.tail, *([rest] if rest else [])]

    def due_at(self) -> float | None:
        """Return when it is to be drawn; None while nothing has changed."""
        return self._drawn_at + EVERY_S if self._changed else None

    def on_time(self) -> None:
        """Draw it if it is time."""
        at = self.due_at()
        if at is not None and time.monotonic() >= at:
            self._draw()

    def _draw(self) -> None:
        self._changed, self._drawn_at = False, time.monotonic()
        self._drawn.update(self._table(), refresh=True)

    def _table(self) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
        for name in ("rank", "host", "state"):
            table.add_column(name, no_wrap=True)
        table.add_column("last line", ratio=1, no_wrap=True, overflow="ellipsis")
        for number, rank in enumerate(self._ranks):
            style = _STYLES.get(rank.state, "red")
            table.add_row(str(number), Text(rank.host), Text(rank.state, style), Text(rank.line))
        return table


_STYLES = {"waits": "dim", "runs": "", "done": "green"}


def plain(data: bytes) -> str:
    """Return bytes as text that moves no cursor.

    >>> plain(b"\\x1b[31mred\\x1b[0m\\tx")
    'redx'
    """
    return _CONTROL.sub("", data.decode(errors="replace"))
