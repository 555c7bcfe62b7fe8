"""Small operations that travel as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import jobkit.native as dist
from jobkit.native import coalesce
from jobkit.native.group import Group

pytest.importorskip("jobkit.native._core")

Run = Callable[..., list[Any]]


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What rank 0 gave to the engine: operation, element type and number of elements."""
    seen: list[Any] = []
    real = coalesce.Batch._all_reduce

    def recording(self: coalesce.Batch, key: coalesce.Key, data: Any, out: Any) -> None:
        if self.group.rank() == 0:
            seen.append((key.op, data.dtype.name, data.size, key.scale))
        real(self, key, data, out)

    monkeypatch.setattr(coalesce.Batch, "_all_reduce", recording)
    return seen


@pytest.mark.parametrize("n_ranks", [2, 3])
def test_results_are_there_when_the_block_ends(run_ranks: Run, operations: list[Any], n_ranks: int) -> None:
    def program(group: Group) -> None:
        rank, size = group.rank(), group.size()
        total, ranks = sum(range(size)), np.arange(size)
        x = np.full((2, 3), rank, np.float32)
        in_place = np.full(4, rank, np.float32)
        strided = np.zeros((4, 2), np.float32)
        with group.coalesce():
            first = dist.all_sum(x, group=group)
            second = dist.all_sum(np.full(5, rank, np.float32), group=group)
            third = dist.all_max(np.array(rank), group=group)
            fourth = dist.all_sum(rank, group=group)
            half = dist.all_sum(np.full(2, rank, ml_dtypes.bfloat16), group=group, scale=0.5)
            assert dist.all_sum(in_place, out=in_place, group=group) is in_place
            assert dist.all_sum(in_place, out=strided[:, 1], group=group).base is strided
            empty = dist.all_min(np.zeros((0, 3)), group=group)
        np.testing.assert_array_equal(first, np.full((2, 3), total, np.float32))
        np.testing.assert_array_equal(second, np.full(5, total, np.float32))
        assert (third.item(), third.shape, fourth.item()) == (ranks.max(), (), total)
        assert half.tolist() == [total / 2] * 2
        assert in_place.tolist() == strided[:, 1].tolist() == [total] * 4
        assert empty.shape == (0, 3)
        assert dist.all_sum(1, group=group).item() == size

    run_ranks(n_ranks, program)
    assert operations == [
        (0, "float32", 19, 1.0),
        (1, "int64", 1, 1.0),
        (0, "int64", 1, 1.0),
        (0, "bfloat16", 2, 0.5),
        (2, "float64", 0, 1.0),
    ]


def test_large_operations_go_by_themselves(run_ranks: Run, operations: list[Any]) -> None:
    def program(group: Group) -> Any:
        with group.coalesce():
            large = dist.all_sum(np.ones(2**18, np.float32), group=group)
            small = [dist.all_sum(np.ones(3, np.float32), group=group) for _ in range(2)]
        return large.sum(), [x.tolist() for x in small]

    assert run_ranks(2, program) == [(2**19, [[2.0] * 3] * 2)] * 2
    assert [size for _, _, size, _ in operations] == [2**18, 6]


def test_anything_else_of_the_group_is_refused_inside(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        x, other = np.ones(2), 1 - group.rank()
        refused: list[Callable[[], Any]] = [
            lambda: dist.all_gather(x, group=group),
            lambda: dist.barrier(group=group),
            lambda: dist.broadcast(x, 0, group=group, wait=False),
            lambda: dist.sendrecv(x, other, other, group=group),
            lambda: group.split(0),
        ]
        with group.coalesce():
            total = dist.all_sum(x, group=group)
            for call in refused:
                with pytest.raises(RuntimeError, match="coalesce: another operation inside the block"):
                    call()
            with pytest.raises(ValueError, match="all_sum: wait: inside coalesce: everything is waited for"):
                dist.all_sum(x, group=group, wait=False)
            with pytest.raises(TypeError, match="cannot be filled later, got 'float32'"):
                dist.all_sum(np.float32(1), group=group)
            with pytest.raises(RuntimeError, match="in such a block already"), group.coalesce():
                pass
        return total.tolist(), dist.all_gather(x, group=group).tolist()

    assert run_ranks(2, program) == [([2.0, 2.0], [1.0] * 4)] * 2


def test_nothing_is_sent_if_the_block_raises(run_ranks: Run, operations: list[Any]) -> None:
    def program(group: Group) -> Any:
        with pytest.raises(KeyError), group.coalesce():
            dist.all_sum(np.ones(2), group=group)
            raise KeyError
        return dist.all_sum(1, group=group).item()

    assert run_ranks(2, program) == [2, 2]
    assert operations == []


def test_another_group_is_not_concerned(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        part = group.split(0)
        assert part is not None
        with group.coalesce():
            x = dist.all_sum(np.ones(1), group=group)
            y = dist.all_gather(np.ones(1), group=part).tolist()
        return x.tolist(), y

    assert run_ranks(2, program) == [([2.0], [1.0, 1.0])] * 2


def test_in_a_group_of_one_results_are_the_inputs() -> None:
    group, x = Group(None), np.ones(3)
    with group.coalesce():
        assert dist.all_sum(x, group=group) is x
