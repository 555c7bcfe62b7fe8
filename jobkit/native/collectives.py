"""The collectives: every rank of the group calls them, in the same order.

In a group of one each returns its input. `x` is of any kind that `jobkit.native.arrays` serves, results are
of the same kind and element type. `timeout` is in seconds (None: JOBKIT_TIMEOUT_S). `out` receives the result
in place of new memory; it may be `x` itself where the shapes agree. Of each, `Raises`:

    TypeError: `x` is not of a kind or element type that is served, or `out` cannot be written.
    ValueError: a shape, root or `out` does not fit; nothing was sent.
    BackendError: a rank failed, left, did not come in time, or called something else.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from jobkit.errors import complaint
from jobkit.native import arrays, backends
from jobkit.native.arrays import Array, Operand
from jobkit.native.group import Group, peer, seconds

INT64 = arrays.DTYPES.index("int64")
MAX_DIMENSIONS = 64  # NumPy's own limit
OPS = {"sum": 0, "max": 1, "min": 2}  # the codes of src/reduce.h


def all_sum(
    x: Any, *, group: Group | None = None, timeout: float | None = None, out: Any = None, scale: float = 1.0
) -> Any:
    """Return the sum of `x` over all ranks, times `scale`: the shape of `x`, the same bits on every rank.

    bool: whether any is true. Integers wrap. float16 and bfloat16 are accumulated in float32, multiplied by
    `scale` there and rounded once. Integers take no `scale` (TypeError).
    """
    return _all_reduce("sum", x, group, timeout, out, scale)


def all_max(x: Any, *, group: Group | None = None, timeout: float | None = None, out: Any = None) -> Any:
    """Return the maximum of `x` over all ranks: the shape of `x`. NaN wins, +0 is above -0.

    bool: whether any is true. Complex: by the real part, then by the imaginary one.
    """
    return _all_reduce("max", x, group, timeout, out)


def all_min(x: Any, *, group: Group | None = None, timeout: float | None = None, out: Any = None) -> Any:
    """Return the minimum of `x` over all ranks: the shape of `x`. NaN wins, -0 is below +0.

    bool: whether all are true. Complex: by the real part, then by the imaginary one.
    """
    return _all_reduce("min", x, group, timeout, out)


def all_gather(x: Any, *, group: Group | None = None, timeout: float | None = None, out: Any = None) -> Any:
    """Return the arrays of all ranks joined along axis 0, in rank order.

    `result[r*n : (r+1)*n]` is rank r's `x` of shape (n, ...); a 0-d `x` gives shape (N,). All shapes are
    equal.
    """
    group = group or backends.default()
    if arrays.has_bridge(x):
        return bridge("all_gather", x, group=group, timeout=timeout, out=out)
    source = arrays.operand(x)
    if group.core is None:
        return _alone("all_gather", x, source, out)
    target = arrays.target("all_gather", source, _joined(source, group.size()), out)
    with group.turn():
        group.core.all_gather(source.data, target.data, source.data.size, source.code, seconds(timeout))
    return target.result()


def sum_scatter(
    x: Any, op: str = "sum", *, group: Group | None = None, timeout: float | None = None, out: Any = None
) -> Any:
    """Return this rank's part of the reduction of `x` over all ranks.

    `x` has shape (N*n, ...); rank r gets rows [r*n, (r+1)*n) of the sum, or with `op` of "max" or "min" of
    these.
    """
    group = group or backends.default()
    code = _op("sum_scatter", op)
    if arrays.has_bridge(x):
        return bridge("sum_scatter", x, op=op, group=group, timeout=timeout, out=out)
    source = arrays.operand(x)
    if group.core is None:
        return _alone("sum_scatter", x, source, out)
    shape = _part("sum_scatter", source.data.shape, group.size())
    target = arrays.target("sum_scatter", source, shape, out)
    with group.turn():
        group.core.reduce_scatter(
            code, source.data, target.data, target.data.size, source.code, seconds(timeout)
        )
    return target.result()


def broadcast(
    x: Any, root: int, *, group: Group | None = None, timeout: float | None = None, out: Any = None
) -> Any:
    """Return rank `root`'s `x`. On the other ranks `x` gives shape and element type only."""
    group = group or backends.default()
    root = peer(group, "root", root)
    if arrays.has_bridge(x):
        return bridge("broadcast", x, root, group=group, timeout=timeout, out=out)
    source = arrays.operand(x)
    if group.core is None:
        return _alone("broadcast", x, source, out)
    target = arrays.target("broadcast", source, source.data.shape, out)
    if group.rank() == root and target.data is not source.data:
        np.copyto(target.data, source.data)
    with group.turn():
        group.core.broadcast(target.data, target.data.size, source.code, root, seconds(timeout))
    return target.result()


def all_to_all(x: Any, *, group: Group | None = None, timeout: float | None = None, out: Any = None) -> Any:
    """Return what every rank has for this one.

    `x` has shape (N*n, ...) and its rows [s*n, (s+1)*n) go to rank s; rows [r*n, (r+1)*n) of the result come
    from rank r. The result has the shape of `x`.
    """
    group = group or backends.default()
    if arrays.has_bridge(x):
        return bridge("all_to_all", x, group=group, timeout=timeout, out=out)
    source = arrays.operand(x)
    if group.core is None:
        return _alone("all_to_all", x, source, out)
    _part("all_to_all", source.data.shape, group.size())
    target = arrays.target("all_to_all", source, source.data.shape, out)
    per_rank = source.data.size // group.size()
    with group.turn():
        group.core.all_to_all(source.data, target.data, per_rank, source.code, seconds(timeout))
    return target.result()


def gather(
    x: Any, root: int, *, group: Group | None = None, timeout: float | None = None, out: Any = None
) -> Any:
    """Return on rank `root` the arrays of all ranks joined along axis 0, in rank order; None on the others.

    Shapes are those of `all_gather`. `out` is for rank `root` only.
    """
    group = group or backends.default()
    root = peer(group, "root", root)
    if arrays.has_bridge(x):
        return bridge("gather", x, root, group=group, timeout=timeout, out=out)
    source = arrays.operand(x)
    if group.core is None:
        return _alone("gather", x, source, out)
    size = source.data.size
    if group.rank() != root:
        with group.turn():
            group.core.gather(source.data, None, size, source.code, root, seconds(timeout))
        return None
    target = arrays.target("gather", source, _joined(source, group.size()), out)
    with group.turn():
        group.core.gather(source.data, target.data, size, source.code, root, seconds(timeout))
    return target.result()


def scatter(
    x: Any | None, root: int, *, group: Group | None = None, timeout: float | None = None, out: Any = None
) -> Any:
    """Return this rank's part of rank `root`'s `x`.

    Rank `root` passes an array of shape (N*n, ...), the others None; rank r gets rows [r*n, (r+1)*n). The
    others learn shape and element type from `root`, and get a NumPy array, or one of the library of which
    they pass any array. If the shape of `x` does not fit, every rank raises ValueError.
    """
    group = group or backends.default()
    root = peer(group, "root", root)
    if arrays.has_bridge(x):
        return bridge("scatter", x, root, group=group, timeout=timeout, out=out)
    if group.core is None:
        return _alone("scatter", x, arrays.operand(x), out)
    source = arrays.operand(x) if group.rank() == root else None
    shape, code = _agree_on_shape(source, root, group, timeout)
    part = _part("scatter", shape, group.size())
    like = arrays.empty((0,), arrays.DTYPES[code], x) if source is None else source
    target = arrays.target("scatter", like, part, out)
    data = None if source is None else source.data
    with group.turn():
        group.core.scatter(data, target.data, target.data.size, code, root, seconds(timeout))
    return target.result()


def barrier(*, group: Group | None = None, timeout: float | None = None) -> None:
    """Return when every rank of the group has called it."""
    group = group or backends.default()
    if group.core is not None:
        with group.turn():
            group.core.barrier(seconds(timeout))


def _all_reduce(
    op: str, x: Any, group: Group | None, timeout: float | None, out: Any = None, scale: float = 1.0
) -> Any:
    group = group or backends.default()
    name = f"all_{op}"
    if scale != 1.0 and not arrays.is_floating(arrays.type_name(x)):
        raise TypeError(complaint(f"{name}: scale", "integers are not scaled", got=scale, expected="1"))
    if arrays.has_bridge(x):
        options = {} if scale == 1.0 else {"scale": scale}
        return bridge(name, x, group=group, timeout=timeout, out=out, **options)
    source = arrays.operand(x)
    if group.core is None:
        return _alone(name, x, source, out, scale)
    target = arrays.target(name, source, source.data.shape, out)
    size = source.data.size
    with group.turn():
        group.core.all_reduce(OPS[op], source.data, target.data, size, source.code, seconds(timeout), scale)
    return target.result()


def bridge(
    name: str, *args: Any, group: Group, timeout: float | None, out: Any = None, **options: Any
) -> Any:
    """Return what the operation `name` does with arrays that their own library takes part in.

    MLX's are lazy, as MLX is; tensors that require grad get a gradient.

    Raises:
        TypeError: `out` was given, or there is no gradient of that operation.
    """
    x = args[0]
    if out is not None:
        wrong = "not for arrays that are immutable, or require grad"
        raise TypeError(complaint(f"{name}: out", wrong, expected=f"no out for a {type(x).__name__}"))
    if group.core is None:
        return x * options["scale"] if "scale" in options else x
    function = getattr(importlib.import_module(arrays.bridge_of(x)), name, None)
    if function is None:
        hint = "pass x.detach(), or call it under torch.no_grad()"
        raise TypeError(complaint(name, "no gradient goes through it", got="requires_grad=True", hint=hint))
    return function(*args, group=group, timeout=timeout, **options)


def _alone(name: str, x: Any, source: Operand, out: Any, scale: float = 1.0) -> Any:
    """Return `x` itself where nothing has to be done: what every collective is in a group of one."""
    if out is None and scale == 1.0 and arrays.is_array(x):
        return x
    target = arrays.target(name, source, source.data.shape, out)
    np.copyto(target.data, _scaled(source.data, scale))
    return target.result()


def _scaled(data: Array, scale: float) -> Array:
    return data if scale == 1.0 else (data * scale).astype(data.dtype)


def _op(name: str, op: str) -> int:
    if op not in OPS:
        raise ValueError(complaint(f"{name}: op", "unknown", got=op, expected=f"one of {', '.join(OPS)}"))
    return OPS[op]


def _joined(source: Operand, size: int) -> tuple[int, ...]:
    """Return the shape of `size` such arrays joined along axis 0."""
    shape = source.data.shape
    return (size * shape[0], *shape[1:]) if shape else (size,)


def _part(name: str, shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Return the shape of one of `size` equal parts along axis 0."""
    if not shape or shape[0] % size != 0:
        expected = f"a first dimension divisible by {size} ranks"
        raise ValueError(complaint(name, "cannot be divided", got=shape, expected=expected))
    return (shape[0] // size, *shape[1:])


def _agree_on_shape(
    source: Operand | None, root: int, group: Group, timeout: float | None
) -> tuple[tuple[int, ...], int]:
    """Return shape and element type of what `root` has, on every rank. Collective."""
    header = np.zeros(2 + MAX_DIMENSIONS, np.int64)
    if source is not None:
        shape = source.data.shape
        header[: 2 + len(shape)] = (source.code, len(shape), *shape)
    assert group.core is not None
    with group.turn():
        group.core.broadcast(header, header.size, INT64, root, seconds(timeout))
    code, dimensions = int(header[0]), int(header[1])
    return tuple(int(n) for n in header[2 : 2 + dimensions]), code
