"""Gather byte strings of any length."""

from __future__ import annotations

import numpy as np

from jobkit.native import collectives
from jobkit.native.group import Group


def all_gather_bytes(data: bytes, group: Group, timeout: float | None = None) -> list[bytes]:
    """Return the bytes of every rank, in rank order. Collective.

    Two operations: lengths, then contents padded to the longest.
    """
    lengths = collectives.all_gather(np.array([len(data)], np.int64), group=group, timeout=timeout)
    longest = int(lengths.max())
    padded = np.zeros((1, longest), np.uint8)
    padded[0, : len(data)] = np.frombuffer(data, np.uint8)
    rows = collectives.all_gather(padded, group=group, timeout=timeout)
    return [row[:n].tobytes() for row, n in zip(rows, lengths, strict=True)]


def broadcast_bytes(data: bytes, root: int, group: Group, timeout: float | None = None) -> bytes:
    """Return the bytes of rank `root`; what the others pass is ignored. Collective. Two operations."""
    length = collectives.broadcast(np.array([len(data)], np.int64), root, group=group, timeout=timeout)
    content = np.zeros(int(length[0]), np.uint8)
    if group.rank() == root:
        content[:] = np.frombuffer(data, np.uint8)
    return bytes(collectives.broadcast(content, root, group=group, timeout=timeout, out=content).tobytes())
