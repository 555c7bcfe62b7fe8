"""Tables and JSON on standard output: drawn on a terminal, plain in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

_COLOURS = {"succeeded": "green", "failed": "red", "timeout": "red", "lost": "red", "cancelled": "yellow",
            "preempted": "yellow", "running": "cyan", "starting": "cyan"}  # fmt: skip


def print_json(data: Any) -> None:
    """Print data as JSON for programs and people."""
    print(json.dumps(data, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: with rich on a terminal, else in plain columns, two spaces apart."""
    rows = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(columns, rows)
        return
    for line in plain(columns, rows):
        print(line)


def printable(text: str) -> str:
    """Return a text on one line, which does nothing to a terminal.

    >>> print(printable("a\\nb"))
    a\\nb
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in which columns are aligned.

    >>> plain(("JOB", "STATE"), [("a", "running")])
    ['JOB  STATE', 'a    running']
    """
    widths = _widths(columns, rows)
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in (columns, *rows)
    ]
    return [line.rstrip() for line in lines]


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]


def fitting(widths: Sequence[int], room: int) -> int:
    """Return how many columns, from the left and two spaces apart, fit into a width; at least one.

    >>> fitting([10, 10, 10], 30)
    2
    """
    fits = [n for n in range(1, len(widths) + 1) if sum(widths[:n]) + 2 * (n - 1) <= room]
    return max(fits, default=1)


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    widths = _widths(columns, rows)
    n = fitting(widths, console.width)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column, width in zip(columns[:n], widths, strict=False):
        table.add_column(column, no_wrap=True, min_width=width)
    for row in rows:
        table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row[:n]))
    console.print(table, crop=False, width=max(console.width, widths[0] + 2))
