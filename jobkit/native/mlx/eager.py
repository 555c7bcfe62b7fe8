"""Operations on evaluated MLX arrays: those that MLX has no name for, and all where there is no bridge.

Each runs when it is called. grad sees them through mx.custom_function, with MLX's own rules where MLX has the
operation; compile and vmap, which would call them once while tracing, are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import mlx.core as mx
import numpy as np

from jobkit.errors import BackendError, complaint
from jobkit.native.group import Group, connected, peer

# The codes of src/dtype.h and src/reduce.h.
DTYPES = {
    mx.bool_: 0,
    mx.uint8: 1,
    mx.uint16: 2,
    mx.uint32: 3,
    mx.uint64: 4,
    mx.int8: 5,
    mx.int16: 6,
    mx.int32: 7,
    mx.int64: 8,
    mx.float16: 9,
    mx.bfloat16: 10,
    mx.float32: 11,
    mx.float64: 12,
    mx.complex64: 13,
}
Array = Any  # of NumPy; the engine takes any buffer
OPS = {"sum": 0, "max": 1, "min": 2}

# What the bridge makes lazy; the rest is eager with it, too.
LAZY = frozenset(
    (
        *("all_sum", "all_max", "all_min", "all_gather", "sum_scatter", "broadcast", "all_to_all"),
        *("send", "recv", "recv_like"),
    )
)


@dataclass(frozen=True)
class EagerGroup:
    """A group as the functions of this module take it, with the methods of `mx.distributed.Group`.

    Attributes:
        native: The group.
        timeout_s: Seconds for each operation, below 0 for the group's own.
        tag: Of send and recv.
        turn: Makes the context in which Python may use the engine between the operations of MLX's streams.
    """

    native: Group
    timeout_s: float = -1.0
    tag: int = 0
    turn: Callable[[], AbstractContextManager[Any]] = nullcontext

    def rank(self) -> int:
        """Return this process's rank."""
        return self.native.rank()

    def size(self) -> int:
        """Return the number of ranks."""
        return self.native.size()

    def split(self, color: int, key: int = -1) -> EagerGroup:
        """Return the group of the ranks that gave the same `color`."""
        part = self.native.split(color, key)
        assert part is not None, "only color None gives no group"
        return EagerGroup(part, self.timeout_s, self.tag)


def all_sum(x: mx.array, *, group: EagerGroup, scale: float = 1.0) -> mx.array:
    """Return the sum of every rank's `x`, times `scale`."""
    return _all_reduce("sum", x, group, scale)


def all_max(x: mx.array, *, group: EagerGroup) -> mx.array:
    """Return the element-wise maximum of every rank's `x`."""
    return _all_reduce("max", x, group)


def all_min(x: mx.array, *, group: EagerGroup) -> mx.array:
    """Return the element-wise minimum of every rank's `x`."""
    return _all_reduce("min", x, group)


def _all_reduce(op: str, x: mx.array, group: EagerGroup, scale: float = 1.0) -> mx.array:
    def run(x: mx.array) -> mx.array:
        source, out, code = _buffer(x), _like(x, x.shape), DTYPES[x.dtype]
        with group.turn():
            core = connected(group.native)
            core.all_reduce(OPS[op], source, out, x.size, code, group.timeout_s, scale)
        return _array(out, x.dtype)

    def passed_on(_: mx.array, cotangent: mx.array) -> mx.array:
        return cotangent if scale == 1.0 else cotangent * scale

    return x if group.size() == 1 else _apply(f"all_{op}", run, x, vjp=passed_on)


def all_gather(x: mx.array, *, group: EagerGroup) -> mx.array:
    """Return every rank's `x` along axis 0; a 0-d `x` gives shape (N,)."""
    size, rank = group.size(), group.rank()

    def run(x: mx.array) -> mx.array:
        source, out = _buffer(x), _like(x, (size * x.shape[0], *x.shape[1:]) if x.ndim else (size,))
        with group.turn():
            connected(group.native).all_gather(source, out, x.size, DTYPES[x.dtype], group.timeout_s)
        return _array(out, x.dtype)

    def own_rows(x: mx.array, cotangent: mx.array) -> mx.array:
        return cotangent.reshape(size, *x.shape)[rank]

    return x if size == 1 else _apply("all_gather", run, x, vjp=own_rows)


def sum_scatter(x: mx.array, *, group: EagerGroup) -> mx.array:
    """Return this rank's rows of the sum."""
    return reduce_scatter("sum", x, group)


def reduce_scatter(op: str, x: mx.array, group: EagerGroup, scale: float = 1.0) -> mx.array:
    """Return this rank's rows of the reduction, shape[0] / N of them, times `scale`.

    Raises:
        ValueError: `op` is unknown, or shape[0] is not a multiple of N.
    """
    if op not in OPS:
        raise ValueError(
            complaint("sum_scatter: op", "unknown name", got=op, expected=f"one of {', '.join(OPS)}")
        )
    if group.size() == 1:
        return x
    check_rows("sum_scatter", x, group.size())

    def run(x: mx.array) -> mx.array:
        source, out = _buffer(x), _like(x, (x.shape[0] // group.size(), *x.shape[1:]))
        core = connected(group.native)
        with group.turn():
            core.reduce_scatter(OPS[op], source, out, out.size, DTYPES[x.dtype], group.timeout_s, scale)
        return _array(out, x.dtype)

    return _apply("sum_scatter", run, x)


def broadcast(x: mx.array, root: int, *, group: EagerGroup) -> mx.array:
    """Return rank `root`'s `x`; the others' gives shape and type."""
    root = peer(group.native, "root", root)

    def run(x: mx.array) -> mx.array:
        out: Array = np.array(_buffer(x))
        with group.turn():
            connected(group.native).broadcast(out, x.size, DTYPES[x.dtype], root, group.timeout_s)
        return _array(out, x.dtype)

    return x if group.size() == 1 else _apply("broadcast", run, x)


def all_to_all(x: mx.array, *, group: EagerGroup) -> mx.array:
    """Return, for each rank r in order, the block of axis 0 that r has for this rank, out of its N.

    Raises:
        ValueError: shape[0] is not a multiple of N.
    """
    if group.size() == 1:
        return x
    check_rows("all_to_all", x, group.size())

    def run(x: mx.array) -> mx.array:
        source, out = _buffer(x), _like(x, x.shape)
        core = connected(group.native)
        with group.turn():
            core.all_to_all(source, out, x.size // group.size(), DTYPES[x.dtype], group.timeout_s)
        return _array(out, x.dtype)

    return _apply("all_to_all", run, x, vjp=lambda _, cotangent: all_to_all(cotangent, group=group))


def gather(x: mx.array, root: int, *, group: EagerGroup) -> mx.array | None:
    """Return every rank's `x` along axis 0 on rank `root`, None elsewhere."""
    root = peer(group.native, "root", root)
    if group.size() == 1:
        return x
    is_root = group.rank() == root
    shape = (group.size() * x.shape[0], *x.shape[1:]) if x.ndim else (group.size(),)
    source, out = _buffer(x), _like(x, shape) if is_root else None
    with group.turn():
        connected(group.native).gather(source, out, x.size, DTYPES[x.dtype], root, group.timeout_s)
    return None if out is None else _array(out, x.dtype)


def send(x: mx.array, dst: int, *, group: EagerGroup) -> mx.array:
    """Send `x` to rank `dst` and return it."""
    core, dst = connected(group.native), peer(group.native, "dst", dst)

    def run(x: mx.array) -> mx.array:
        source = _buffer(x)
        with group.turn():
            core.send(source, x.size, DTYPES[x.dtype], dst, group.tag, group.timeout_s)
        return x

    return _apply("send", run, x)


def recv(shape: Sequence[int], dtype: mx.Dtype, src: int, *, group: EagerGroup) -> mx.array:
    """Return an array received from rank `src`."""
    core, src = connected(group.native), peer(group.native, "src", src)
    out: Array = np.empty(tuple(shape), dtype=_numpy_type(dtype))
    with group.turn():
        core.recv(out, out.size, DTYPES[dtype], src, group.tag, group.timeout_s)
    return _array(out, dtype)


def recv_like(x: mx.array, src: int, *, group: EagerGroup) -> mx.array:
    """Return `recv` of the shape and type of `x`."""
    return recv(x.shape, x.dtype, src, group=group)


def sendrecv(x: mx.array, dst: int, src: int, *, like: mx.array, group: EagerGroup) -> mx.array:
    """Send `x` to rank `dst` and return what rank `src` sent, of the shape of `like` and the type of both."""
    core = connected(group.native)
    dst, src, code, tag = (
        peer(group.native, "dst", dst),
        peer(group.native, "src", src),
        DTYPES[x.dtype],
        group.tag,
    )

    def run(x: mx.array) -> mx.array:
        source, out = _buffer(x), _like(x, like.shape)
        with group.turn():
            core.sendrecv(source, x.size, dst, out, like.size, src, code, tag, group.timeout_s)
        return _array(out, x.dtype)

    return _apply("sendrecv", run, x)


def _apply(
    name: str,
    run: Callable[[mx.array], mx.array],
    x: mx.array,
    vjp: Callable[[mx.array, mx.array], mx.array] | None = None,
) -> mx.array:
    """Return `run(x)`, differentiable by `vjp(x, cotangent)`.

    Raises:
        BackendError: Inside compile or vmap; or when a gradient is asked for and there is no rule.
    """
    function = mx.custom_function(run)
    function.vjp(lambda x, cotangent, _: vjp(x, cotangent) if vjp else no_gradient(name))
    try:
        return cast(mx.array, function(x))
    except ValueError as error:
        if "during function transformations" not in str(error):
            raise
        wrong = "cannot run inside mx.compile or mx.vmap"
        hint = "call it outside, or install a C++ compiler" if name in LAZY else "call it outside"
        raise BackendError(complaint(name, wrong, hint=hint)) from error


def no_gradient(name: str) -> NoReturn:
    """Raise: no gradient goes through the operation."""
    raise BackendError(complaint(name, "has no gradient", expected="mx.stop_gradient around it"))


def check_rows(name: str, x: mx.array, size: int) -> None:
    """Raise ValueError unless axis 0 of `x` divides into `size` blocks."""
    if size > 1 and (x.ndim == 0 or x.shape[0] % size):
        expected = f"axis 0 a multiple of {size}"
        raise ValueError(complaint(name, "not a shape to divide", got=tuple(x.shape), expected=expected))


def _numpy_type(dtype: mx.Dtype) -> np.dtype[Any]:
    """Return NumPy's type, uint16 for bfloat16, which NumPy has not."""
    return (
        np.dtype(np.uint16)
        if dtype == mx.bfloat16
        else np.dtype(str(dtype).removeprefix("mlx.core.").rstrip("_"))
    )


def _buffer(x: mx.array) -> Array:
    """Return the evaluated values of `x`, contiguous, without a copy where they are."""
    raw = x.view(mx.uint16) if x.dtype == mx.bfloat16 else x
    mx.eval(raw)
    return np.ascontiguousarray(np.asarray(raw)).reshape(x.shape)


def _like(x: mx.array, shape: Sequence[int]) -> Array:
    return np.empty(tuple(shape), dtype=_numpy_type(x.dtype))


def _array(values: Array, dtype: mx.Dtype) -> mx.array:
    if dtype == mx.bfloat16:
        return mx.array(values, dtype=mx.uint16).view(mx.bfloat16)
    return mx.array(values, dtype=dtype)  # left to itself, MLX makes float32 of NumPy's float64


def to_numpy(x: mx.array) -> Array:
    """Return the values of `x` as an array of NumPy with the same type.

    Raises:
        TypeError: It is bfloat16, and the package ml_dtypes, which NumPy needs for that, is not installed.
    """
    values = _buffer(x)
    if x.dtype != mx.bfloat16:
        return values
    try:
        import ml_dtypes
    except ImportError as error:
        raise TypeError(
            complaint("bfloat16", "NumPy has it from ml_dtypes", hint="pip install ml_dtypes")
        ) from error
    return values.view(ml_dtypes.bfloat16)


def from_numpy(values: Array) -> mx.array:
    """Return an MLX array of the values and the type of NumPy's."""
    name = values.dtype.name
    raw = values.view(np.uint16) if name == "bfloat16" else values
    return _array(raw, getattr(mx, "bool_" if name == "bool" else name))
