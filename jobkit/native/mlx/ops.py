"""The operations on MLX arrays, on a group of `jobkit.native`. Every rank calls them in the same order.

Those that MLX has are its own, lazy ones; the others run when they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from jobkit import native
from jobkit.native.group import Group
from jobkit.native.mlx import eager, groups

# What mx.distributed has before `install`.
MLX: dict[str, Callable[..., Any]] = {
    name: getattr(mx.distributed, name)
    for name in ("all_sum", "all_max", "all_min", "all_gather", "sum_scatter", "send", "recv", "recv_like")
}


def _call(name: str, group: Group, timeout: float | None, *args: Any, tag: int = 0) -> mx.array:
    made = groups.group(group, timeout=timeout, tag=tag)
    operation = getattr(eager, name) if isinstance(made, eager.EagerGroup) else MLX[name]
    result: mx.array = operation(*args, group=made)
    return result


def all_sum(x: mx.array, *, group: Group, timeout: float | None = None, scale: float = 1.0) -> mx.array:
    """Return the sum of every rank's `x`, times `scale`."""
    total = _call("all_sum", group, timeout, x)
    return total if scale == 1.0 else total * scale


def all_max(x: mx.array, *, group: Group, timeout: float | None = None) -> mx.array:
    """Return the element-wise maximum of every rank's `x`."""
    return _call("all_max", group, timeout, x)


def all_min(x: mx.array, *, group: Group, timeout: float | None = None) -> mx.array:
    """Return the element-wise minimum of every rank's `x`."""
    return _call("all_min", group, timeout, x)


def all_gather(x: mx.array, *, group: Group, timeout: float | None = None) -> mx.array:
    """Return every rank's `x` along axis 0, in rank order; a 0-d `x` gives shape (N,)."""
    return _call("all_gather", group, timeout, x)


def sum_scatter(
    x: mx.array, op: str = "sum", *, group: Group, timeout: float | None = None, scale: float = 1.0
) -> mx.array:
    """Return this rank's rows of the reduction, shape[0] / N of them, times `scale`.

    Raises:
        ValueError: `op` is unknown, or shape[0] is not a multiple of N.
    """
    if op == "sum":
        eager.check_rows("sum_scatter", x, group.size())
        part = _call("sum_scatter", group, timeout, x)
    else:
        part = eager.reduce_scatter(op, x, groups.eager_group(group, timeout=timeout))
    return part if scale == 1.0 else part * scale


def broadcast(x: mx.array, root: int, *, group: Group, timeout: float | None = None) -> mx.array:
    """Return rank `root`'s `x`; the others' gives shape and type."""
    return eager.broadcast(x, root, group=groups.eager_group(group, timeout=timeout))


def all_to_all(x: mx.array, *, group: Group, timeout: float | None = None) -> mx.array:
    """Return, for each rank r in order, the block of axis 0 that r has for this rank."""
    return eager.all_to_all(x, group=groups.eager_group(group, timeout=timeout))


def gather(x: mx.array, root: int, *, group: Group, timeout: float | None = None) -> mx.array | None:
    """Return every rank's `x` along axis 0 on rank `root`, None elsewhere."""
    return eager.gather(x, root, group=groups.eager_group(group, timeout=timeout))


def send(x: mx.array, dst: int, tag: int = 0, *, group: Group, timeout: float | None = None) -> mx.array:
    """Return `x`; evaluating it sends it to rank `dst`."""
    return _call("send", group, timeout, x, dst, tag=tag)


def recv(
    shape: Sequence[int],
    dtype: mx.Dtype,
    src: int,
    tag: int = 0,
    *,
    group: Group,
    timeout: float | None = None,
) -> mx.array:
    """Return an array that is received from rank `src` when it is evaluated."""
    return _call("recv", group, timeout, shape, dtype, src, tag=tag)


def recv_like(x: mx.array, src: int, tag: int = 0, *, group: Group, timeout: float | None = None) -> mx.array:
    """Return `recv` of the shape and type of `x`."""
    return recv(x.shape, x.dtype, src, tag, group=group, timeout=timeout)


def sendrecv(
    x: mx.array,
    dst: int,
    src: int,
    tag: int = 0,
    *,
    like: mx.array,
    group: Group,
    timeout: float | None = None,
) -> mx.array:
    """Send `x` to rank `dst` and return what rank `src` sent, of the shape of `like` and the type of both."""
    return eager.sendrecv(x, dst, src, like=like, group=groups.eager_group(group, timeout=timeout, tag=tag))


def scatter(x: mx.array, root: int, *, group: Group, timeout: float | None = None) -> mx.array:
    """Return this rank's part of rank `root`'s `x`; the others' only asks for an MLX array."""
    return eager.from_numpy(native.scatter(eager.to_numpy(x), root, group=group, timeout=timeout))
