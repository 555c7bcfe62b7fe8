"""Preflight: what would fail, found before a job waits in a queue for it.

A module is a group of checks: `checks(question)` yields a row for each, in the order in which they are shown.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.doctor.row import Question, Row

# What later ones rely on comes first.
GROUPS = ("here", "rdma", "slurm", "nodes", "ssh")


def examine(question: Question) -> Iterator[Row]:
    """Yield the rows of every group as they are found."""
    for name in GROUPS:
        yield from importlib.import_module(f"jobkit.doctor.{name}").checks(question)
