"""Gradients through the collectives follow the rules of MLX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch

import jobkit.native as dist


def gradient(operation: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> list[float]:
    x = x.requires_grad_()
    y = operation(x)
    (y * torch.arange(1.0, y.numel() + 1).reshape(y.shape)).sum().backward()
    assert x.grad is not None
    return x.grad.flatten().tolist()


@pytest.mark.parametrize("op", [dist.all_sum, dist.all_max, dist.all_min])
def test_a_reduction_passes_the_gradient_on(run_ranks: Any, op: Callable[..., Any]) -> None:
    def program(group: Any) -> Any:
        x = torch.tensor([1.0, -2.0]) * (group.rank() + 1)
        return gradient(lambda x: op(x * x, group=group), x)

    assert run_ranks(2, program) == [[2, -8], [4, -16]]


def test_a_scaled_sum_scales_the_gradient(run_ranks: Any) -> None:
    def program(group: Any) -> Any:
        return gradient(lambda x: dist.all_sum(x, group=group, scale=0.5), torch.ones(2))

    assert run_ranks(2, program) == [[0.5, 1.0]] * 2


@pytest.mark.parametrize("shape", [(2, 3), ()], ids=["matrix", "0-d"])
def test_a_gather_gives_back_the_own_part(run_ranks: Any, shape: tuple[int, ...]) -> None:
    def program(group: Any) -> Any:
        return gradient(lambda x: dist.all_gather(x, group=group), torch.ones(shape))

    n = int(np.prod(shape))
    assert run_ranks(2, program) == [[float(r * n + i + 1) for i in range(n)] for r in range(2)]


def test_gradients_go_back_the_way_the_blocks_came(run_ranks: Any) -> None:
    def program(group: Any) -> Any:
        return gradient(lambda x: dist.all_to_all(x, group=group) * (group.rank() + 1), torch.zeros(2))

    assert run_ranks(2, program) == [[1, 2], [2, 4]]


@pytest.mark.parametrize("name", ["all_sum", "all_max", "all_gather", "all_to_all"])
def test_the_rules_are_those_of_the_eager_path_of_mlx(run_ranks: Any, name: str) -> None:
    from jobkit.native.mlx import eager

    def program(group: Any) -> Any:
        values = np.arange(4, dtype=np.float32) + group.rank()
        theirs = mx.grad(lambda x: (getattr(eager, name)(x, group=eager.EagerGroup(group)) ** 2).sum())(
            mx.array(values)
        )
        x = torch.from_numpy(values).requires_grad_()
        (getattr(dist, name)(x, group=group) ** 2).sum().backward()
        return x.grad.tolist(), theirs.tolist()

    for ours, theirs in run_ranks(2, program):
        assert ours == theirs


@pytest.mark.parametrize("name", ["sum_scatter", "broadcast", "gather", "scatter", "send", "sendrecv"])
def test_what_has_no_gradient_says_so_and_sends_nothing(run_ranks: Any, name: str) -> None:
    def program(group: Any) -> None:
        x = torch.ones(2, requires_grad=True)
        arguments = {"sum_scatter": (), "sendrecv": (1 - group.rank(), 1 - group.rank())}.get(name)
        arguments = (1 - group.rank(),) if arguments is None else arguments
        if name == "scatter" and arguments[0] != group.rank():
            arguments = (group.rank(),)
        with pytest.raises(TypeError, match=r"(?s)gradient.*hint: pass x.detach"):
            getattr(dist, name)(x, *arguments, group=group)
        dist.barrier(group=group)

    run_ranks(2, program)


def test_out_is_not_for_tensors_that_require_grad(run_ranks: Any) -> None:
    def program(group: Any) -> None:
        with pytest.raises(TypeError, match="all_sum: out: not for"):
            dist.all_sum(torch.ones(2, requires_grad=True), group=group, out=torch.ones(2))

    run_ranks(2, program)


def test_nothing_is_recorded_where_gradients_are_off(run_ranks: Any) -> None:
    def program(group: Any) -> Any:
        with torch.no_grad():
            y = dist.all_sum(torch.ones(2, requires_grad=True), group=group)
        return y.requires_grad, y.tolist()

    assert run_ranks(2, program) == [(False, [2, 2])] * 2


def test_torch_func_differentiates_operations(run_ranks: Any) -> None:
    def program(group: Any) -> Any:
        def loss(x: torch.Tensor) -> Any:
            return (dist.all_gather(dist.all_sum(x * x, group=group), group=group) * torch.arange(4.0)).sum()

        return torch.func.grad(loss)(torch.ones(2)).tolist()

    assert run_ranks(2, program) == [[0, 2], [4, 6]]
