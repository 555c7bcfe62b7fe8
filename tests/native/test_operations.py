"""Every operation, element type, size and number of ranks against NumPy, in place where that is allowed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from jobkit import native
from jobkit.native import arrays, collectives
from jobkit.native.group import Group

core = pytest.importorskip("jobkit.native._core")

TYPES = [np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name) for name in arrays.DTYPES]
FLOATS = [each for each in TYPES if each.name in ("float16", "bfloat16", "float32", "float64", "complex64")]
RANKS = [1, 2, 3, 4, 5, 8]
NUMPY = {"sum": np.add, "max": np.maximum, "min": np.minimum}
REDUCE = {"sum": native.all_sum, "max": native.all_max, "min": native.all_min}
LARGE = 100_003


def sizes(n: int) -> list[int]:
    return sorted({0, 1, n - 1, n, n + 1, 1000, LARGE})


@functools.lru_cache(maxsize=64)
def values(dtype: np.dtype[Any], rank: int, count: int) -> Any:
    """Whole numbers of either sign, so small that even bfloat16 holds the sum of those of 8 ranks."""
    raw = (np.arange(count) * (rank + 3) + rank) % 31
    if dtype == np.bool_:
        return raw % 5 == 0
    made = (raw if dtype.kind == "u" else raw - 15).astype(dtype)
    made.setflags(write=False)
    return made


@functools.lru_cache(maxsize=16)
def reduced(op: str, dtype: np.dtype[Any], n: int, count: int) -> Any:
    return functools.reduce(NUMPY[op], [values(dtype, rank, count) for rank in range(n)])


@functools.lru_cache(maxsize=16)
def joined(dtype: np.dtype[Any], n: int, count: int) -> Any:
    return np.concatenate([values(dtype, rank, count) for rank in range(n)])


def block(whole: Any, index: int, count: int) -> Any:
    return whole[index * count : (index + 1) * count]


def results(group: Group, dtype: np.dtype[Any], count: int) -> Iterator[tuple[str, Any, Any]]:
    """Do every operation; yield its name, what came and what NumPy says."""
    rank, n = group.rank(), group.size()
    root, right, left = count % n, (rank + 1) % n, (rank - 1) % n
    one, many = values(dtype, rank, count), values(dtype, rank, n * count)
    for op, call in REDUCE.items():
        yield f"all_{op}", call(one, group=group), reduced(op, dtype, n, count)
        mine = one.copy()
        yield f"all_{op} in place", call(mine, out=mine, group=group), reduced(op, dtype, n, count)
        expected = block(reduced(op, dtype, n, n * count), rank, count)
        yield f"sum_scatter {op}", native.sum_scatter(many, op, group=group), expected
    everyone = joined(dtype, n, count)
    exchanged = np.concatenate([block(values(dtype, r, n * count), rank, count) for r in range(n)])
    yield "all_gather", native.all_gather(one, group=group), everyone
    yield "all_to_all", native.all_to_all(many, group=group), exchanged
    mine = many.copy()
    yield "all_to_all in place", native.all_to_all(mine, out=mine, group=group), exchanged
    yield "broadcast", native.broadcast(one, root, group=group), values(dtype, root, count)
    mine = one.copy()
    yield (
        "broadcast in place",
        native.broadcast(mine, root, out=mine, group=group),
        values(dtype, root, count),
    )
    yield "gather", native.gather(one, root, group=group), everyone if rank == root else None
    given = many if rank == root else None
    expected = block(values(dtype, root, n * count), rank, count)
    yield "scatter", native.scatter(given, root, group=group), expected
    if n > 1:
        yield "sendrecv", native.sendrecv(one, dst=right, src=left, group=group), values(dtype, left, count)
        native.send(one, right, tag=1, group=group)
        yield "recv", native.recv((count,), dtype, left, tag=1, group=group), values(dtype, left, count)


def walk(group: Group) -> int:
    """Return how many results were right; the first wrong one is an error that names it."""
    n_right = 0
    for dtype in TYPES:
        for count in sizes(group.size()):
            for name, found, expected in results(group, dtype, count):
                where = f"{name}({dtype}, {count} elements) on rank {group.rank()} of {group.size()}"
                if expected is None:
                    assert found is None, where
                else:
                    assert found.dtype == dtype, where
                    assert np.array_equal(found, expected), where
                n_right += 1
    return n_right


@pytest.mark.parametrize("links", ["tcp", "shm"])
@pytest.mark.parametrize("n", RANKS[1:])
def test_the_whole_table_agrees_with_numpy(run_ranks: Callable[..., list[Any]], n: int, links: str) -> None:
    done = run_ranks(n, walk, shared_memory=links == "shm")
    assert done == [len(TYPES) * len(sizes(n)) * 18] * n


def test_the_whole_table_agrees_with_numpy_in_a_group_of_one() -> None:
    assert walk(Group(None, backend="ring")) == len(TYPES) * len(sizes(1)) * 16


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_sums_have_the_bits_of_the_fixed_tree(
    run_ranks: Callable[..., list[Any]], n: int, dtype: np.dtype[Any]
) -> None:
    """One sum over n parts in one place is the same as what travels, for any size and schedule."""
    counts = [1, 1000, 40_000, 300_001]

    def part(rank: int, count: int) -> Any:
        floats = np.random.default_rng(rank).standard_normal(2 * count).astype(np.float32)
        return floats.view(dtype) if dtype.kind == "c" else floats[:count].astype(dtype)

    def program(group: Group) -> list[bytes]:
        mine = [part(group.rank(), count) for count in counts]
        return [native.all_sum(x, group=group, scale=1 / n).tobytes() for x in mine]

    expected = []
    for count in counts:
        parts = [part(rank, count) for rank in range(n)]
        out = np.empty_like(parts[0])
        core.reduce_all(collectives.OPS["sum"], arrays.code_of(dtype), parts, out, count, 1 / n)
        expected.append(out.tobytes())
    assert all(found == expected for found in run_ranks(n, program))
