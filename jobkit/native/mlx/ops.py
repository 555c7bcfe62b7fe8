"""The operations on MLX arrays, on a group of `jobkit.native`. Every rank calls them in the same order.

Those that MLX has are its own, lazy ones, and `broadcast` and `all_to_all` borrow theirs; the others run when
they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import mlx.core as mx

from jobkit import native
from jobkit.errors import complaint
from jobkit.native.group import Group, peer
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


def _borrowed(
    operation: str,
    x: mx.array,
    made: Any,
    rule: Callable[[mx.array], mx.array] | None = None,
    *,
    name: str = "",
    mapped: Callable[[mx.array, int], tuple[mx.array, int]] | None = None,
) -> mx.array:
    """Return what MLX's `operation` gives in a group where it means another one, lazy as MLX's are.

    Args:
        operation: Of mx.distributed.
        x: Its argument.
        made: What `groups.variant` returned.
        rule: From the gradient of the result to that of `x`; None where there is none.
        name: For errors, where it is not `operation`.
        mapped: What it is under `mx.vmap`, where that is not the same on every element.
    """
    function = mx.custom_function(lambda x: MLX[operation](x, group=made))
    function.vjp(lambda _, cotangent, __: rule(cotangent) if rule else eager.no_gradient(name or operation))
    if mapped is not None:
        function.vmap(mapped)
    return cast(mx.array, function(x))


def all_sum(x: mx.array, *, group: Group, timeout: float | None = None, scale: float = 1.0) -> mx.array:
    """Return the sum of every rank's `x`, times `scale`, which comes before the one rounding."""
    if scale == 1.0:
        return _call("all_sum", group, timeout, x)
    made = groups.variant(group, "group", 0, scale, timeout=timeout)
    if made is None:
        return eager.all_sum(x, group=groups.eager_group(group, timeout=timeout), scale=scale)
    return _borrowed("all_sum", x, made, lambda cotangent: cotangent * scale)


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
    if op not in eager.OPS:
        known = ", ".join(eager.OPS)
        raise ValueError(complaint("sum_scatter: op", "unknown name", got=op, expected=f"one of {known}"))
    eager.check_rows("sum_scatter", x, group.size())
    if op == "sum" and scale == 1.0:
        return _call("sum_scatter", group, timeout, x)
    made = groups.variant(group, "scattering", eager.OPS[op], scale, timeout=timeout)
    if made is None:
        return eager.reduce_scatter(op, x, groups.eager_group(group, timeout=timeout), scale)
    return _borrowed("sum_scatter", x, made)


def broadcast(x: mx.array, root: int, *, group: Group, timeout: float | None = None) -> mx.array:
    """Return rank `root`'s `x`; the others' gives shape and type."""
    made = groups.variant(group, "broadcasting", peer(group, "root", root), timeout=timeout)
    if made is None:
        return eager.broadcast(x, root, group=groups.eager_group(group, timeout=timeout))
    return _borrowed("all_sum", x, made, name="broadcast")


def all_to_all(x: mx.array, *, group: Group, timeout: float | None = None) -> mx.array:
    """Return, for each rank r in order, the block of axis 0 that r has for this rank."""
    made = groups.variant(group, "exchanging", timeout=timeout)
    if made is None:
        return eager.all_to_all(x, group=groups.eager_group(group, timeout=timeout))
    eager.check_rows("all_to_all", x, group.size())

    def exchange(x: mx.array) -> mx.array:
        return all_to_all(x, group=group, timeout=timeout)

    def mapped(x: mx.array, axis: int) -> tuple[mx.array, int]:
        return mx.moveaxis(exchange(mx.moveaxis(x, axis, -1)), -1, axis), axis

    return _borrowed("all_sum", x, made, exchange, name="all_to_all", mapped=mapped)


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
