"""Memory for results: large ones get what earlier ones left."""

from __future__ import annotations

import gc
import os
import pickle
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import jobkit.native as dist
from jobkit.native import arrays, outputs
from jobkit.native.group import Group

core = pytest.importorskip("jobkit.native._core")

Run = Callable[..., list[Any]]

MIB = 2**20
LIMIT = 256 * MIB  # of src/blocks.h


def address(x: Any) -> int:
    return int(x.__array_interface__["data"][0])


def drop_all() -> None:
    """Push out what is kept: blocks of a size that nothing else here has."""
    gc.collect()
    kept = [outputs.empty((LIMIT,), np.dtype(np.uint8))]
    kept.clear()


def test_a_small_array_is_numpys_own() -> None:
    x = outputs.empty((10, 3), np.dtype(np.float32))
    assert (x.shape, x.dtype, x.base) == ((10, 3), np.float32, None)


@pytest.mark.parametrize("name", arrays.DTYPES)
def test_a_large_array_is_like_any_other(name: str) -> None:
    dtype = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    x = outputs.empty((2, MIB, 1), dtype)
    assert (x.shape, x.dtype, type(x)) == ((2, MIB, 1), dtype, np.ndarray)
    assert x.flags.carray
    assert x.base is not None
    x[:] = np.zeros((), dtype)
    assert pickle.loads(pickle.dumps(x)).tobytes() == x.tobytes() == bytes(x.nbytes)


def test_the_memory_of_a_dead_array_is_used_again_but_not_that_of_a_living_one() -> None:
    drop_all()
    first = outputs.empty((3 * MIB,), np.dtype(np.uint8))
    second = outputs.empty((3 * MIB,), np.dtype(np.uint8))
    assert address(first) != address(second)
    was, rows = address(first), first[5:7]
    del first
    assert address(outputs.empty((3 * MIB,), np.dtype(np.uint8))) != was  # a view of it lives
    del rows
    gc.collect()
    places = {address(outputs.empty((3 * MIB,), np.dtype(np.uint8))) for _ in range(10)}
    assert len(places) == 1
    assert address(second) not in places


def test_what_is_kept_is_bounded() -> None:
    drop_all()
    held = [outputs.empty((96 * MIB,), np.dtype(np.uint8)) for _ in range(4)]
    held.clear()
    assert core.kept_bytes() == 2 * 96 * MIB <= LIMIT


def test_a_block_is_not_wasted_on_a_much_smaller_array() -> None:
    drop_all()
    before = core.kept_bytes()
    small = outputs.empty((2 * MIB,), np.dtype(np.uint8))
    assert core.kept_bytes() == before == LIMIT
    del small


def test_what_cannot_be_is_refused_as_numpy_refuses_it() -> None:
    for shape in ((2**40, 2**40), (-1, MIB)):
        with pytest.raises((ValueError, MemoryError)):
            core.empty(shape, np.dtype(np.float64))
    with pytest.raises(MemoryError):
        core.empty((2**45,), np.dtype(np.float64))
    assert core.empty((0, 2**40), np.dtype(np.float64)).size == 0
    with pytest.raises(TypeError):
        core.empty((3,), "no such type")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")  # fork beside threads
def test_a_child_of_fork_has_its_own_copy() -> None:
    x = outputs.empty((4 * MIB,), np.dtype(np.uint8))
    x[:] = 1
    child = os.fork()
    if child == 0:
        x[:] = 2
        del x
        y = outputs.empty((4 * MIB,), np.dtype(np.uint8))
        y[:] = 3
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (x == 1).all()


def test_results_of_operations_use_it(run_ranks: Run) -> None:
    def program(group: Group) -> int:
        x = np.ones(MIB, np.float32)
        calls: list[Callable[[], Any]] = [
            lambda: dist.all_sum(x, group=group),
            lambda: dist.all_gather(x, group=group),
            lambda: dist.all_sum(x[::-1], group=group),
            lambda: dist.recv_like(x, 1, group=group) if group.rank() == 0 else dist.send(x, 0, group=group),
        ]
        bases = [call().base for call in calls]
        return sum(base is not None for base in bases)

    assert run_ranks(2, program) == [4, 3]
