"""The operations that a gradient goes through, with the rules that MLX has for its own.

Each rank differentiates its own loss with respect to its own input: no gradient is summed over ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from jobkit.native import collectives
from jobkit.native.group import Group

Rule = Callable[[torch.Tensor], torch.Tensor]  # from the gradient of the result to that of the input


class _Collective(torch.autograd.Function):
    """An operation on the values of `x`, and the rule for its gradient."""

    @staticmethod
    def forward(x: torch.Tensor, run: Rule, _: Rule) -> torch.Tensor:
        return run(x.detach())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG004 PyTorch's names
        ctx.rule = inputs[2]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return ctx.rule(gradients[0]), None, None


def all_sum(x: torch.Tensor, *, group: Group, timeout: float | None = None, scale: float = 1.0) -> Any:
    """Return the sum over all ranks, times `scale`. Its gradient is passed on, times `scale`."""
    return _Collective.apply(
        x,
        lambda x: collectives.all_sum(x, group=group, timeout=timeout, scale=scale),
        lambda gradient: gradient if scale == 1.0 else gradient * scale,
    )


def all_max(x: torch.Tensor, *, group: Group, timeout: float | None = None) -> Any:
    """Return the maximum over all ranks. Its gradient is passed on, whichever rank had it."""
    return _Collective.apply(
        x, lambda x: collectives.all_max(x, group=group, timeout=timeout), lambda gradient: gradient
    )


def all_min(x: torch.Tensor, *, group: Group, timeout: float | None = None) -> Any:
    """Return the minimum over all ranks. Its gradient is passed on, whichever rank had it."""
    return _Collective.apply(
        x, lambda x: collectives.all_min(x, group=group, timeout=timeout), lambda gradient: gradient
    )


def all_gather(x: torch.Tensor, *, group: Group, timeout: float | None = None) -> Any:
    """Return the tensors of all ranks along axis 0. Its gradient is the part of this rank."""
    return _Collective.apply(
        x,
        lambda x: collectives.all_gather(x, group=group, timeout=timeout),
        lambda gradient: gradient.reshape(group.size(), *x.shape)[group.rank()],
    )


def all_to_all(x: torch.Tensor, *, group: Group, timeout: float | None = None) -> Any:
    """Return what every rank has for this one. Gradients go back the way the blocks came. Collective."""

    def exchange(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return collectives.all_to_all(x, group=group, timeout=timeout)

    return _Collective.apply(x, exchange, exchange)
