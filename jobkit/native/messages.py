"""Messages from one rank to another: any pair of a group, matched by (sender, tag) in the order of sending.

Of each, `Raises`: ValueError in a group of one, for a rank that the group does not have, for itself, or a tag
below 0; TypeError for a kind or element type that is not served; BackendError when the peer failed, left,
sends something else, or did not come in time. With `wait` off each returns at once, a `jobkit.native.Handle`
whose `wait()` returns the result.
"""

from __future__ import annotations

from typing import Any

from jobkit.errors import complaint
from jobkit.native import arrays, backends
from jobkit.native.arrays import Operand
from jobkit.native.collectives import bridge, on_device
from jobkit.native.group import LARGEST, Group, connected, integer, peer
from jobkit.native.handles import issue

LARGEST_SIZE = 2**63 - 1
SEND, RECV, SENDRECV = 13, 14, 15  # the codes of src/call.h, for the quick way


def send(
    x: Any,
    dst: int,
    tag: int = 0,
    *,
    group: Group | None = None,
    timeout: float | None = None,
    wait: bool = True,
) -> Any:
    """Send `x` to rank `dst`, which must call `recv` with its shape and type; return `x`.

    Returns when `x` may be changed again, which can be before `dst` has it.
    """
    group = backends.current if group is None else group
    if wait and type(group) is Group:
        result = group.quick_message(SEND, x, dst, dst, tag, timeout)
        if result is not NotImplemented:
            return result
    group = backends.chosen(group)
    dst, tag = _other("dst", dst, group), _tag(tag)
    core = connected(group)
    if arrays.has_bridge(x):
        return bridge("send", x, dst, tag=tag, group=group, timeout=timeout, wait=wait)
    source = arrays.operand(x)
    size, code = source.data.size, source.code
    return issue("send", group, timeout, wait, lambda: x, core.send, source.data, size, code, dst, tag)


def recv(
    shape: Any,
    dtype: Any,
    src: int,
    tag: int = 0,
    like: Any = None,
    *,
    group: Group | None = None,
    timeout: float | None = None,
    wait: bool = True,
) -> Any:
    """Return an array of `shape` and `dtype` that rank `src` sent.

    Args:
        shape: A tuple, or an integer for one dimension.
        dtype: What the array's library calls it, or a name: `np.float32`, `mx.bfloat16`, "float32". It
            decides the kind of the array, NumPy where it could be any.
        src: The sender.
        tag: The sender's.
        like: An array of the wanted kind, where `dtype` does not tell it.
        group: None means that of `init()`.
        timeout: Seconds.
        wait: Whether to return the result, and not a handle on it.
    """
    group = backends.chosen(group)
    src, tag = _other("src", src, group), _tag(tag)
    shape = _shape(shape)
    if arrays.is_mlx(dtype) or arrays.is_mlx(like):
        connected(group)
        mlx = arrays.MLX_OPERATIONS
        return bridge("recv", shape, dtype, src, tag=tag, module=mlx, group=group, timeout=timeout, wait=wait)
    if arrays.is_on_device(like):
        connected(group)
        options = {"tag": tag, "like": like, "timeout": timeout}
        return on_device("recv", shape, dtype, src, group=group, wait=wait, **options)
    return _receive(arrays.empty(shape, dtype, like), src, tag, group, timeout, wait)


def recv_like(
    x: Any,
    src: int,
    tag: int = 0,
    *,
    group: Group | None = None,
    timeout: float | None = None,
    wait: bool = True,
) -> Any:
    """Return an array that rank `src` sent, of kind, shape and type of `x`, whose values do not matter."""
    group = backends.current if group is None else group
    if wait and type(group) is Group:
        result = group.quick_message(RECV, x, src, src, tag, timeout)
        if result is not NotImplemented:
            return result
    group = backends.chosen(group)
    src, tag = _other("src", src, group), _tag(tag)
    if arrays.has_bridge(x):
        connected(group)
        return bridge("recv_like", x, src, tag=tag, group=group, timeout=timeout, wait=wait)
    return _receive(_blank(arrays.operand(x)), src, tag, group, timeout, wait)


def sendrecv(
    x: Any,
    dst: int,
    src: int,
    tag: int = 0,
    *,
    like: Any = None,
    group: Group | None = None,
    timeout: float | None = None,
    wait: bool = True,
) -> Any:
    """Send `x` to rank `dst` and return what rank `src` sent, both at once: no order of ranks can block.

    Args:
        x: What is sent.
        dst: Where it goes.
        src: Whence the result comes; its `sendrecv` or `send` names this rank.
        tag: Of both messages.
        like: An array with the kind and shape of the result, of the type of `x`; None: `x` itself.
        group: None means that of `init()`.
        timeout: Seconds.
        wait: Whether to return the result, and not a handle on it.
    """
    group = backends.current if group is None else group
    if wait and like is None and type(group) is Group:
        received = group.quick_message(SENDRECV, x, dst, src, tag, timeout)
        if received is not NotImplemented:
            return received
    group = backends.chosen(group)
    dst, src, tag = _other("dst", dst, group), _other("src", src, group), _tag(tag)
    core = connected(group)
    like = x if like is None else like
    _check_like(like, x)
    if arrays.has_bridge(x):
        return bridge("sendrecv", x, dst, src, tag=tag, like=like, group=group, timeout=timeout, wait=wait)
    source = arrays.operand(x)
    result = _blank(arrays.operand(like))
    ends = source.data, source.data.size, dst, result.data, result.data.size, src

    def finish() -> Any:
        return result.finish(result.data)

    return issue("sendrecv", group, timeout, wait, finish, core.sendrecv, *ends, source.code, tag)


def _receive(result: Operand, src: int, tag: int, group: Group, timeout: float | None, wait: bool) -> Any:
    def finish() -> Any:
        return result.finish(result.data)

    size, code = result.data.size, result.code
    return issue(
        "recv", group, timeout, wait, finish, connected(group).recv, result.data, size, code, src, tag
    )


def _check_like(like: Any, x: Any) -> None:
    """Raise unless both are arrays of one element type, and both or neither of MLX."""
    got, expected = arrays.type_name(like), arrays.type_name(x)
    places = arrays.is_on_device(like), arrays.is_on_device(x)
    if arrays.is_mlx(like) != arrays.is_mlx(x) or places[0] != places[1]:
        kinds = type(like).__name__, type(x).__name__
        raise TypeError(complaint("sendrecv: like", "of another kind", got=kinds[0], expected=kinds[1]))
    if got != expected:
        raise ValueError(
            complaint("sendrecv: like", "another type", got=got, expected=f"{expected} as is sent")
        )


def _blank(like: Operand) -> Operand:
    fresh = arrays.empty(like.data.shape, like.data.dtype)
    return Operand(fresh.data, fresh.code, like.finish)


def _other(name: str, rank: int, group: Group) -> int:
    connected(group)
    number = peer(group, name, rank)
    if number == group.rank():
        raise ValueError(complaint(name, "this rank itself", got=rank, expected="another rank"))
    return number


def _tag(tag: int) -> int:
    return integer("tag", "not a tag", tag, "0 to 2147483647", 0, LARGEST)


def _shape(shape: Any) -> tuple[int, ...]:
    sizes = shape if isinstance(shape, tuple | list) else (shape,)
    return tuple(integer("shape", "not a size", n, "sizes >= 0", 0, LARGEST_SIZE) for n in sizes)
