"""The reductions of `torch.distributed` on operations of `jobkit.native`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.distributed import ReduceOp

from jobkit.errors import complaint
from jobkit.native import arrays, collectives
from jobkit.native.group import Group
from jobkit.native.torch import flat, memory

_ENGINE = {
    ReduceOp.SUM: "sum",
    ReduceOp.AVG: "sum",
    ReduceOp.PREMUL_SUM: "sum",
    ReduceOp.MAX: "max",
    ReduceOp.MIN: "min",
}
# What the engine has not: every rank gathers all, and folds them in rank order.
_FOLDS: dict[Any, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    ReduceOp.PRODUCT: torch.mul,
    ReduceOp.BAND: torch.bitwise_and,
    ReduceOp.BOR: torch.bitwise_or,
    ReduceOp.BXOR: torch.bitwise_xor,
}


def all_reduce(x: torch.Tensor, op: Any, group: Group, timeout: float | None) -> None:
    """Replace `x` by the reduction over all ranks."""
    x = _numbers(x)
    if op.op in _FOLDS:
        x.copy_(_folded(x, op, group, timeout).reshape(x.shape))
        return
    run = getattr(collectives, f"all_{_engine_op(op)}")
    with flat.written(x) as out:
        run(flat.read(x), group=group, timeout=timeout, out=out, **_scaled(op, group, x))


def reduce_scatter(x: torch.Tensor, out: torch.Tensor, op: Any, group: Group, timeout: float | None) -> None:
    """Put this rank's part of the reduction of `x`, one of equal parts in rank order, into `out`."""
    x, out = _numbers(x), _numbers(out)
    if op.op in _FOLDS:
        parts = _folded(x, op, group, timeout).reshape(group.size(), -1)
        out.copy_(parts[group.rank()].reshape(out.shape))
        return
    with flat.written(out) as part:
        collectives.sum_scatter(
            flat.read(x), _engine_op(op), group=group, timeout=timeout, out=part, **_scaled(op, group, x)
        )


def _engine_op(op: Any) -> str:
    if op.op not in _ENGINE:
        known = ", ".join(each.name for each in (*_ENGINE, *_FOLDS))
        raise ValueError(complaint("ReduceOp", "not supported", got=str(op.op), expected=f"one of {known}"))
    return _ENGINE[op.op]


def _scaled(op: Any, group: Group, x: torch.Tensor) -> dict[str, Any]:
    if op.op not in (ReduceOp.AVG, ReduceOp.PREMUL_SUM):
        return {}
    if not (x.is_floating_point() or x.is_complex()):
        where = f"ReduceOp.{'AVG' if op.op == ReduceOp.AVG else 'PREMUL_SUM'}"
        expected, hint = "a floating or complex type", "reduce with SUM and divide, or convert before"
        name = memory.element_type(x.dtype)
        raise TypeError(complaint(where, "integers are not scaled", got=name, expected=expected, hint=hint))
    return {"scale": 1.0 / group.size() if op.op == ReduceOp.AVG else float(op.factor)}


def _folded(x: torch.Tensor, op: Any, group: Group, timeout: float | None) -> torch.Tensor:
    gathered = collectives.all_gather(flat.read(x), group=group, timeout=timeout)
    total, *others = memory.result(gathered).reshape(group.size(), -1)
    total = total.clone()
    for each in others:
        total = _FOLDS[op.op](total, each)
    return total


def _numbers(x: torch.Tensor) -> torch.Tensor:
    """Return a tensor as numbers that can be reduced: complex128 as pairs of float64."""
    x = x.detach()
    if x.dtype == torch.complex128:
        return torch.view_as_real(x)
    arrays.element_type(memory.element_type(x.dtype))  # raises for those that can only be moved
    return x
