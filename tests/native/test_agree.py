"""Whether all ranks have the same tree, and who has not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import jobkit.native as dist
from jobkit.errors import BackendError
from jobkit.native import agree, tree
from jobkit.native.group import Group

pytest.importorskip("jobkit.native._core")

Run = Callable[..., list[Any]]


def test_a_leaf_is_described_by_path_type_and_shape() -> None:
    nest = {"a": [np.zeros((2, 3), ml_dtypes.bfloat16)], "b": 1.0}
    assert agree.describe(tree.leaves(nest)) == ["a.0 bfloat16 (2, 3)", "b float64 ()"]


def test_equal_trees_pass_whatever_their_layout(run_ranks: Run) -> None:
    def program(group: Group) -> None:
        x = np.arange(6.0).reshape(2, 3)
        own = x if group.rank() == 0 else np.asfortranarray(x)
        nest = {"w": own, "n": np.array(np.nan), "h": np.ones(3, ml_dtypes.bfloat16), "e": np.zeros((0, 2))}
        dist.assert_same(nest, group=group)

    run_ranks(3, program)


@pytest.mark.parametrize("odd", [[1], [0], [1, 2]])
def test_the_leaf_and_the_ranks_that_differ_are_named_everywhere(run_ranks: Run, odd: list[int]) -> None:
    def program(group: Group) -> str:
        nest = {"a": np.ones(3), "b": [np.zeros(2), np.array(float(group.rank() in odd)), np.ones(1)]}
        with pytest.raises(BackendError) as caught:
            dist.assert_same(nest, group=group)
        dist.barrier(group=group)
        return str(caught.value)

    texts = set(run_ranks(5, program))
    assert len(texts) == 1
    name = f"rank {odd[0]}" if len(odd) == 1 else "ranks 1, 2"
    assert texts.pop().startswith(f"assert_same: b.1: differs on {name}, expected the bits of rank ")


def test_two_kinds_of_zero_are_not_the_same(run_ranks: Run) -> None:
    def program(group: Group) -> None:
        with pytest.raises(BackendError, match="the array: differs on rank 1"):
            dist.assert_same(np.array(-0.0 if group.rank() else 0.0), group=group)

    run_ranks(2, program)


def test_trees_of_another_structure_are_named_by_their_first_difference(run_ranks: Run) -> None:
    def program(group: Group) -> str:
        with pytest.raises(BackendError) as caught:
            dist.assert_same({"a": np.ones(3 + (group.rank() == 2))}, group=group)
        return str(caught.value)

    wrong = "assert_same: the tree of rank 2 is another one, got 'a float64 (4,)'"
    assert run_ranks(4, program) == [f"{wrong}, expected 'a float64 (3,)' as on rank 0"] * 4
