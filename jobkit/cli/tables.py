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
    if sys.stdout.isatty():
        _draw(columns, rows)
        return
    for line in plain(columns, rows):
        print(line)


def plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in which columns are aligned.

    >>> plain(("JOB", "STATE"), [("a", "running")])
    ['JOB  STATE', 'a    running']
    """
    table = [tuple(columns), *(tuple(row) for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    return [line.rstrip() for line in padded]


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    Console(highlight=False).print(table)
