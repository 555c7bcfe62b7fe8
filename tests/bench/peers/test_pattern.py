from __future__ import annotations

import numpy as np
import pytest

from jobkit.bench.cases import ITEM_SIZES, OPERATIONS
from jobkit.bench.peers import pattern


def result(op: str, rank: int, size: int, count: int, dtype: str) -> np.ndarray:
    """Return what NumPy makes of the arrays of all ranks."""
    arrays = [pattern.given(r, size, count, dtype) for r in range(size)]
    part = count // size
    mine = slice(rank * part, (rank + 1) * part)
    total = np.any(arrays, axis=0) if dtype == "bool" else np.sum(arrays, axis=0, dtype=arrays[0].dtype)
    partner = rank ^ 1 if rank ^ 1 < size else rank
    results = {
        "all_sum": total,
        "sum_scatter": total[mine],
        "all_gather": np.concatenate(arrays),
        "all_to_all": np.concatenate([x[mine] for x in arrays]),
        "broadcast": arrays[0],
        "send": arrays[partner],
    }
    return np.asarray(results[op])


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize(("size", "count"), [(2, 0), (2, 10), (3, 753), (8, 4096)])
def test_what_is_expected_is_what_numpy_computes(op: str, size: int, count: int) -> None:
    for dtype in ITEM_SIZES:
        for rank in range(size):
            segments = pattern.expected(op, rank, size, count, dtype)
            assert pattern.wrong(result(op, rank, size, count, dtype), segments) == 0, (dtype, rank)


def test_results_longer_than_a_block_of_the_comparison_are_right_to_the_end() -> None:
    count = 251 * 4096 * 3 + 3
    for op in OPERATIONS:
        segments = pattern.expected(op, 1, 3, count, "float32")
        assert pattern.wrong(result(op, 1, 3, count, "float32"), segments) == 0


@pytest.mark.parametrize("op", OPERATIONS)
def test_each_wrong_element_is_counted(op: str) -> None:
    found = result(op, 1, 4, 4096, "float32").copy()
    found[[0, 17, -1]] += 1

    assert pattern.wrong(found, pattern.expected(op, 1, 4, 4096, "float32")) == 3


@pytest.mark.parametrize("shift", [1, 64, 1024, 65536])
def test_a_piece_at_a_wrong_offset_is_wrong(shift: int) -> None:
    found = np.roll(result("all_sum", 0, 2, 1 << 18, "float32"), shift)

    assert pattern.wrong(found, pattern.expected("all_sum", 0, 2, 1 << 18, "float32")) > 0


def test_a_result_of_another_length_is_wrong() -> None:
    assert pattern.wrong(np.zeros(3), pattern.expected("all_sum", 0, 2, 4, "float32")) == 3
    assert pattern.wrong(np.zeros(0), pattern.expected("all_sum", 0, 2, 4, "float32")) == 1


@pytest.mark.parametrize("size", [2, 64, 128, 256])
def test_sums_are_exact_in_bfloat16(size: int) -> None:
    (segment,) = pattern.expected("all_sum", 0, size, 251, "bfloat16")

    assert segment.values.max() <= 256
    assert len(np.unique(pattern.period(0, size, "float32"))) > 1
