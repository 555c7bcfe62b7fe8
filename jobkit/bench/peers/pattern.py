"""Numbers whose sums are exact in every element type and order, and what an operation makes of them.

Rank r's array repeats 251 small integers. The period is a prime: a piece that lands at a wrong offset cannot
look right, as it would with a power of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

PERIOD = 251
_BLOCK = PERIOD * 4096  # elements that are compared at once: a few megabytes


@dataclass(frozen=True)
class Segment:
    """A stretch of an expected result.

    Attributes:
        count: Its elements.
        phase: Which of the repeated values comes first.
        values: The values, one period of them.
    """

    count: int
    phase: int
    values: Array


def numpy_type(dtype: str) -> np.dtype[Any]:
    """Return the type in which NumPy holds the numbers: float32 for bfloat16, its own name for the rest."""
    return np.dtype("float32" if dtype == "bfloat16" else dtype)


def period(rank: int, size: int, dtype: str) -> Array:
    """Return the values that rank `rank` of `size` repeats.

    All sums stay below 256 for up to 256 ranks, the last integer up to which bfloat16 has every one.
    """
    return _integers(rank, size).astype(numpy_type(dtype))


def _integers(rank: int, size: int) -> Array:
    return (7 * np.arange(PERIOD) + 3 * rank) % max(2, min(4, 255 // size + 1))


def given(rank: int, size: int, count: int, dtype: str) -> Array:
    """Return rank `rank`'s array of `count` elements."""
    return np.resize(period(rank, size, dtype), count) if count else np.empty(0, numpy_type(dtype))


def expected(op: str, rank: int, size: int, count: int, dtype: str) -> list[Segment]:
    """Return what an operation on arrays of `count` elements each must give rank `rank`."""
    one = [period(r, size, dtype) for r in range(size)]
    part = count // size
    if op == "all_sum":
        return [Segment(count, 0, _sum(size, dtype))]
    if op == "sum_scatter":
        return [Segment(part, rank * part % PERIOD, _sum(size, dtype))]
    if op == "all_gather":
        return [Segment(count, 0, values) for values in one]
    if op == "all_to_all":
        return [Segment(part, rank * part % PERIOD, values) for values in one]
    if op == "broadcast":
        return [Segment(count, 0, one[0])]
    partner = rank ^ 1
    return [Segment(count, 0, one[partner if partner < size else rank])]


def _sum(size: int, dtype: str) -> Array:
    """Return a period of the sum: "any" for bool, wrapped for integers."""
    total: Array = np.sum([_integers(rank, size) for rank in range(size)], axis=0)
    return total.astype(numpy_type(dtype))


def wrong(result: Array, segments: list[Segment]) -> int:
    """Return how many elements of a result are not as expected; all of them where its length is wrong."""
    flat = result.reshape(-1)
    if flat.size != sum(segment.count for segment in segments):
        return max(1, flat.size)
    found, start = 0, 0
    for segment in segments:
        for n, block in _blocks(segment):
            found += int(np.count_nonzero(flat[start : start + n] != block[:n]))
            start += n
    return found


def _blocks(segment: Segment) -> Iterator[tuple[int, Array]]:
    if segment.count:
        block = np.resize(np.roll(segment.values, -segment.phase), min(segment.count, _BLOCK))
    for start in range(0, segment.count, _BLOCK):
        yield min(_BLOCK, segment.count - start), block
