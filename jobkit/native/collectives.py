"""The collectives: every rank of the group calls them, in the same order.

In a group of one each returns its input. `x` is of any kind that `jobkit.native.arrays` serves, results are
of the same kind and element type. `timeout` is in seconds (None: JOBKIT_TIMEOUT_S). `out` receives the result
in place of new memory; it may be `x` itself where the shapes agree. With `wait` off the call returns at once,
a `jobkit.native.Handle` whose `wait()` returns the result. Of each, `Raises`:

    TypeError: `x` is not of a kind or element type that is served, or `out` cannot be written.
    ValueError: a shape, root or `out` does not fit; nothing was sent.
    BackendError: a rank failed, left, did not come in time, or called something else.
"""

from __future__ import annotations

import importlib
from typing import Any, cast

import numpy as np

from jobkit.errors import complaint
from jobkit.native import arrays, backends
from jobkit.native.arrays import Array, Operand, Target
from jobkit.native.group import Group, peer, real, seconds
from jobkit.native.handles import issue, ready, started

INT64 = arrays.DTYPES.index("int64")
MAX_DIMENSIONS = 64  # NumPy's own limit
OPS = {"sum": 0, "max": 1, "min": 2}  # the codes of src/reduce.h

NOWHERE = Target(cast("Array", None), lambda: None)  # of a rank that gets no result

# The codes of src/call.h, for the quick way.
ALL_SUM, ALL_MAX, ALL_MIN, SUM_SCATTER, ALL_GATHER, BROADCAST, ALL_TO_ALL, GATHER = 0, 1, 2, 3, 6, 7, 8, 9


def all_sum(
    x: Any,
    *,
    group: Group | None = None,
    timeout: float | None = None,
    out: Any = None,
    scale: float = 1.0,
    wait: bool = True,
) -> Any:
    """Return the sum of `x` over all ranks, times `scale`: the shape of `x`, the same bits on every rank.

    bool: whether any is true. Integers wrap. float16 and bfloat16 are accumulated in float32, multiplied by
    `scale` there and rounded once. Integers take no `scale` (TypeError).
    """
    group = backends.current if group is None else group
    if wait and type(group) is Group:
        result = group.quick(ALL_SUM, x, out, timeout, 0, scale)
        if result is not NotImplemented:
            return result
    group = backends.chosen(group)
    return _all_reduce("sum", x, group, timeout, out, wait, scale)


def all_max(
    x: Any,
    *,
    group: Group | None = None,
    timeout: float | None = None,
    out: Any = None,
    wait: bool = True,
) -> Any:
    """Return the maximum of `x` over all ranks: the shape of `x`. NaN wins, +0 is above -0.

    bool: whether any is true. Complex: by the real part, then by the imaginary one.
    """
    group = backends.current if group is None else group
    if wait and type(group) is Group:
        result = group.quick(ALL_MAX, x, out, timeout, 0, 1.0)
        if result is not NotImplemented:
            return result
    group = backends.chosen(group)
    return _all_reduce("max", x, group, timeout, out, wait)


def all_min(
    x: Any,
    *,
    group: Group | None = None,
    timeout: float | None = None,
    out: Any = None,
    wait: bool = True,
) -> Any:
    """Return the minimum of `x` over all ranks: the shape of `x`. NaN wins, -0 is below +0.

    bool: whether all are true. Complex: by the real part, then by the imaginary one.
    """
    group = backends.current if group is None else group
    if wait and type(group) is Group:
        result = group.quick(ALL_MIN, x, out, timeout, 0, 1.0)
        if result is not NotImplemented:
            return result
    group = backends.chosen(group)
    return _all_reduce("min", x, group, timeout, out, wait)


def all_gather(
    x: Any,
    *,
    group: Group | None = None,
    timeout: float | None = None,
    out: Any = None,
    wait: bool = True,
) -> Any:
    """Return the arrays of all ranks joined along axis 0, in rank order.

    `result[r*n : (r+1)*n]` is rank r's `x` of shape (n, ...); a 0-d `x` gives shape (N,). All shapes are
    equal.
    """
    name = "all_gather"
    group = backends.current if group is None else group
    if wait and type(group) is Group:
        result = group.quick(ALL_GATHER, x, out, timeout, 0, 1.0)
        if result is not NotImplemented:
            return result
    group = backends.chosen(group)
    if arrays.has_bridge(x):
        return bridge(name, x, group=group, timeout=timeout, out=out, wait=wait)
    source = arrays.operand(x)
    if group.core is None:
        return ready(name, _alone(name, x, source, out), wait)
    target = arrays.target(name, source, _joined(source, group.size()), out, group.rank())
    return issue(
        name,
        group,
        timeout,
        wait,
        target.result,
        group.core.all_gather,
        source.data,
        target.data,
        source.data.size,
        source.code,
    )


def sum_scatter(
    x: Any,
    op: str = "sum",
    *,
    group: Group | None = None,
    timeout: float | None = None,
    out: Any = None,
    scale: float = 1.0,
    wait: bool = True,
) -> Any:
    """Return this rank's part of the reduction of `x` over all ranks, times `scale` as in `all_sum`.

    `x` has shape (N*n, ...); rank r gets rows [r*n, (r+1)*n) of the sum, or with `op` of "max" or "min" of
    these.
    """
    name = "sum_scatter"
    group = backends.current if group is None else group
    code = _op(name, op)
    if wait and type(group) is Group:
        result = group.quick(SUM_SCATTER + code, x, out, timeout, 0, scale)
        if result is not NotImplemented:
            return result
    group = backends.chosen(group)
    scale = _scale(name, x, scale)
    if arrays.has_bridge(x):
        options: dict[str, Any] = {} if scale == 1.0 else {"scale": scale}
        return bridge(name, x, op, group=group, timeout=timeout, out=out, wait=wait, **options)
    source = arrays.operand(x)
    if group.core is None:
        return ready(name, _alone(name, x, source, out, scale), wait)
    shape = part_of(name, source.data.shape, group.size())
    target = arrays.target(name, source, shape, out)
    return issue(
        name,
        group,
        timeout,
        wait,
        target.result,
        group.core.reduce_scatter,
        code,
        source.data,
        target.data,
        target.data.size,
        source.code,
        scale=scale,
    )


def broadcast(
    x: Any,
    root: int,
    *,
    group: Group | None = None,
    timeout: float | None = None,
    out: Any = None,
    wait: bool = True,
) -> Any:
    """Return rank `root`'s `x`. On the other ranks `x` gives shape and element type only."""
    name = "broadcast"
    group = backends.current if group is None else group
    if wait and type(group) is Group:
        result = group.quick(BROADCAST, x, out, timeout, root, 1.0)
        if result is not NotImplemented:
            return result
    group = backends.chosen(group)
    root = peer(group, "root", root)
    if arrays.has_bridge(x):
        return bridge(name, x, root, group=group, timeout=timeout, out=out, wait=wait)
    source = arrays.operand(x)
    if group.core is None:
        return ready(name, _alone(name, x, source, out), wait)
    target = arrays.target(name, source, source.data.shape, out)
    gives = group.rank() == root and target.data is not source.data
    return issue(
        name,
        group,
        timeout,
        wait,
        target.result,
        group.core.broadcast,
        target.data,
        target.data.size,
        source.code,
        root,
        src=source.data if gives else None,
    )


def all_to_all(
    x: Any,
    *,
    group: Group | None = None,
    timeout: float | None = None,
    out: Any = None,
    wait: bool = True,
) -> Any:
    """Return what every rank has for this one.

    `x` has shape (N*n, ...) and its rows [s*n, (s+1)*n) go to rank s; rows [r*n, (r+1)*n) of the result come
    from rank r. The result has the shape of `x`.
    """
    name = "all_to_all"
    group = backends.current if group is None else group
    if wait and type(group) is Group:
        result = group.quick(ALL_TO_ALL, x, out, timeout, 0, 1.0)
        if result is not NotImplemented:
            return result
    group = backends.chosen(group)
    if arrays.has_bridge(x):
        return bridge(name, x, group=group, timeout=timeout, out=out, wait=wait)
    source = arrays.operand(x)
    if group.core is None:
        return ready(name, _alone(name, x, source, out), wait)
    part_of(name, source.data.shape, group.size())
    target = arrays.target(name, source, source.data.shape, out)
    return issue(
        name,
        group,
        timeout,
        wait,
        target.result,
        group.core.all_to_all,
        source.data,
        target.data,
        source.data.size // group.size(),
        source.code,
    )


def gather(
    x: Any,
    root: int,
    *,
    group: Group | None = None,
    timeout: float | None = None,
    out: Any = None,
    wait: bool = True,
) -> Any:
    """Return on rank `root` the arrays of all ranks joined along axis 0, in rank order; None on the others.

    Shapes are those of `all_gather`. `out` is for rank `root` only.
    """
    name = "gather"
    group = backends.current if group is None else group
    if wait and type(group) is Group:
        result = group.quick(GATHER, x, out, timeout, root, 1.0)
        if result is not NotImplemented:
            return result
    group = backends.chosen(group)
    root = peer(group, "root", root)
    if arrays.has_bridge(x):
        return bridge(name, x, root, group=group, timeout=timeout, out=out, wait=wait)
    source = arrays.operand(x)
    if group.core is None:
        return ready(name, _alone(name, x, source, out), wait)
    is_root = group.rank() == root
    target = arrays.target(name, source, _joined(source, group.size()), out) if is_root else NOWHERE
    size = source.data.size
    return issue(
        name,
        group,
        timeout,
        wait,
        target.result,
        group.core.gather,
        source.data,
        target.data,
        size,
        source.code,
        root,
    )


def scatter(
    x: Any | None,
    root: int,
    *,
    group: Group | None = None,
    timeout: float | None = None,
    out: Any = None,
    wait: bool = True,
) -> Any:
    """Return this rank's part of rank `root`'s `x`.

    Rank `root` passes an array of shape (N*n, ...), the others None; rank r gets rows [r*n, (r+1)*n). The
    others learn shape and element type from `root` (which this waits for, with `wait` off too), and get a
    NumPy array, or one of the library of which they pass any array. If the shape of `x` does not fit, every
    rank raises ValueError.
    """
    name = "scatter"
    group = backends.chosen(group)
    root = peer(group, "root", root)
    if arrays.has_bridge(x):
        return bridge(name, x, root, group=group, timeout=timeout, out=out, wait=wait)
    if group.core is None:
        return ready(name, _alone(name, x, arrays.operand(x), out), wait)
    source = arrays.operand(x) if group.rank() == root else None
    given = None if source is None else (source.data.shape, source.code)
    shape, code = agree_on_shape(given, root, group, timeout)
    part = part_of(name, shape, group.size())
    like = arrays.empty((0,), arrays.DTYPES[code], x) if source is None else source
    target = arrays.target(name, like, part, out)
    data = None if source is None else source.data
    size = target.data.size
    return issue(
        name, group, timeout, wait, target.result, group.core.scatter, data, target.data, size, code, root
    )


def barrier(*, group: Group | None = None, timeout: float | None = None, wait: bool = True) -> Any:
    """Return when every rank of the group has called it; with `wait` off at once, a handle on that."""
    group = backends.chosen(group)
    if group.core is None:
        return ready("barrier", None, wait)
    return issue("barrier", group, timeout, wait, lambda: None, group.core.barrier)


def _all_reduce(
    op: str,
    x: Any,
    group: Group,
    timeout: float | None,
    out: Any,
    wait: bool,
    scale: float = 1.0,
) -> Any:
    name = f"all_{op}"
    scale = _scale(name, x, scale)
    if arrays.has_bridge(x):
        options: dict[str, Any] = {} if scale == 1.0 else {"scale": scale}
        return bridge(name, x, group=group, timeout=timeout, out=out, wait=wait, **options)
    source = arrays.operand(x)
    if group.core is None:
        return ready(name, _alone(name, x, source, out, scale), wait)
    target = arrays.target(name, source, source.data.shape, out)
    if group.batch is not None:
        return group.batch.add(name, OPS[op], x, source, target, out, scale, timeout, wait)
    call, size = group.core.all_reduce, source.data.size
    return issue(
        name,
        group,
        timeout,
        wait,
        target.result,
        call,
        OPS[op],
        source.data,
        target.data,
        size,
        source.code,
        scale=scale,
    )


def bridge(
    name: str,
    *args: Any,
    group: Group,
    timeout: float | None,
    out: Any = None,
    wait: bool = True,
    module: str | None = None,
    **options: Any,
) -> Any:
    """Return what the operation `name` does with arrays that their own library takes part in.

    MLX's are lazy, as MLX is: with `wait` off their evaluation begins. Tensors that require grad get a
    gradient; such an operation is complete when this returns.

    Args:
        name: Of the operation.
        *args: Of the operation; the first is an array, unless `module` says whose operation it is.
        group, timeout, out, wait: As the operation takes them.
        module: None for that of the first argument's kind.
        **options: More of the operation's.

    Raises:
        TypeError: `out` was given, or there is no gradient of that operation.
    """
    x = args[0]
    module = module or arrays.bridge_of(x)
    if module == arrays.DEVICE_OPERATIONS:
        return on_device(name, *args, group=group, timeout=timeout, out=out, wait=wait, **options)
    if out is not None:
        wrong = "not for arrays that are immutable, or require grad"
        raise TypeError(complaint(f"{name}: out", wrong, expected=f"no out for a {type(x).__name__}"))
    if group.core is None:
        return started(name, x * options["scale"] if "scale" in options else x, wait)
    function = getattr(importlib.import_module(module), name, None)
    if function is None:
        hint = "pass x.detach(), or call it under torch.no_grad()"
        raise TypeError(complaint(name, "no gradient goes through it", got="requires_grad=True", hint=hint))
    return started(name, function(*args, group=group, timeout=timeout, **options), wait)


def on_device(name: str, *args: Any, group: Group, out: Any = None, wait: bool = True, **options: Any) -> Any:
    """Return what the operation `name` does with arrays in the memory of a device, on which it stays.

    Raises:
        TypeError: The group's backend does not serve them.
    """
    if group.core is None:
        return ready(name, _alone_on_device(args[0], out, options.get("scale", 1.0)), wait)
    if group.devices is None:
        wrong = f"in the memory of a device, which the backend {group.backend} does not reach"
        hint = 'pass a copy on the host (x.cpu(), jax.device_get(x)), or form a group with backend="nccl"'
        raise TypeError(complaint(name, wrong, got=type(args[0]).__name__, hint=hint))
    if out is not None:
        options["out"] = out
    _ = group.turn  # which raises inside of coalesce
    return getattr(importlib.import_module(arrays.DEVICE_OPERATIONS), name)(
        *args, group=group, wait=wait, **options
    )


def _alone_on_device(x: Any, out: Any, scale: float) -> Any:
    value = x if scale == 1.0 else x * scale
    if out is None:
        return value
    out[...] = value
    return out


def _alone(name: str, x: Any, source: Operand, out: Any, scale: float = 1.0) -> Any:
    """Return `x` itself where nothing has to be done: what every collective is in a group of one."""
    if out is None and scale == 1.0 and arrays.is_array(x):
        return x
    target = arrays.target(name, source, source.data.shape, out)
    np.copyto(target.data, _scaled(source.data, scale))
    return target.result()


def _scaled(data: Array, scale: float) -> Array:
    return data if scale == 1.0 else (data * scale).astype(data.dtype)


def _scale(name: str, x: Any, scale: Any) -> float:
    number = real(f"{name}: scale", scale, "a real number")
    if number != 1.0 and not arrays.is_floating(arrays.type_name(x)):
        raise TypeError(complaint(f"{name}: scale", "integers are not scaled", got=scale, expected="1"))
    return number


def _op(name: str, op: str) -> int:
    if not isinstance(op, str) or op not in OPS:
        raise ValueError(complaint(f"{name}: op", "unknown", got=op, expected=f"one of {', '.join(OPS)}"))
    return OPS[op]


def _joined(source: Operand, size: int) -> tuple[int, ...]:
    """Return the shape of `size` such arrays joined along axis 0."""
    shape = source.data.shape
    return (size * shape[0], *shape[1:]) if shape else (size,)


def part_of(name: str, shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Return the shape of one of `size` equal parts along axis 0."""
    if not shape or shape[0] % size != 0:
        expected = f"a first dimension divisible by {size} ranks"
        raise ValueError(complaint(name, "cannot be divided", got=shape, expected=expected))
    return (shape[0] // size, *shape[1:])


def agree_on_shape(
    given: tuple[tuple[int, ...], int] | None, root: int, group: Group, timeout: float | None
) -> tuple[tuple[int, ...], int]:
    """Return shape and element type of what `root` has, which it gives, on every rank. Collective."""
    header = np.zeros(2 + MAX_DIMENSIONS, np.int64)
    if given is not None:
        shape, code = given
        header[: 2 + len(shape)] = (code, len(shape), *shape)
    assert group.core is not None
    with group.turn():
        group.core.broadcast(header, header.size, INT64, root, seconds(timeout))
    code, dimensions = int(header[0]), int(header[1])
    return tuple(int(n) for n in header[2 : 2 + dimensions]), code
