"""Move the leaves of a tree in few large operations."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jobkit.errors import complaint
from jobkit.native import agree, arrays, backends, collectives, outputs
from jobkit.native.group import Group, peer, real
from jobkit.native.tree import Leaf, leaves, rebuild

PACK_BYTES = 32 * 2**20

# Takes a 1-d array and whether to wait; returns the result, or a handle on it.
Operation = Callable[[Any, bool], Any]

Landing = Callable[[], list[Any]]  # waits for a pack and returns its leaves


def average_gradients(
    gradients: Any,
    group: Group | None = None,
    all_reduce_size: int = PACK_BYTES,
    communication_type: Any = None,
    *,
    timeout: float | None = None,
) -> Any:
    """Return the tree of the means over all ranks. Collective.

    Every rank passes a tree of the same structure. Leaves are packed by element type in the order of the
    tree; the next pack is filled while the last one travels. The sum is divided before it is rounded to the
    type that travels.

    Args:
        gradients: A nest of dicts, lists and tuples with NumPy or MLX arrays of floating type.
        group: None means that of `init()`.
        all_reduce_size: Bytes at which a pack is full; 0 sends every leaf by itself.
        communication_type: The element type that travels, None for the leaf's own. The result has the leaf's.
        timeout: Seconds for each operation.

    Raises:
        TypeError: A leaf is not an array, or of integers, or cannot travel as `communication_type`; the
            message names it.
        BackendError: The structures differ between ranks, or a rank failed.

    Source: the behaviour and defaults are those of mlx.nn.average_gradients.
    """
    group = backends.chosen(group)
    found = leaves(gradients)
    travel = None if communication_type is None else _type_name(communication_type)
    types = [_averaged_type(leaf, travel) for leaf in found]
    limit = real("all_reduce_size", all_reduce_size, "bytes")
    if group.core is None:
        return gradients
    arguments = f"all_reduce_size={limit:.0f}, communication_type={travel}"
    agree.check_structure("average_gradients", agree.describe(found), group, timeout, arguments)
    scale = 1.0 / group.size()

    def operation(flat: Any, wait: bool) -> Any:
        out = None if arrays.is_mlx(flat) or arrays.is_on_device(flat) else flat
        return collectives.all_sum(flat, group=group, timeout=timeout, scale=scale, out=out, wait=wait)

    return rebuild(gradients, _moved(found, types, limit, operation))


def broadcast_tree(
    params: Any, root: int = 0, *, group: Group | None = None, timeout: float | None = None
) -> Any:
    """Return rank `root`'s tree. Collective; the others pass one of the same structure, shapes and types.

    Leaves are packed as `average_gradients` packs them.

    Raises:
        ValueError: There is no rank `root`.
        TypeError: A leaf is not an array; the message names it.
        BackendError: The structures differ between ranks, or a rank failed.
    """
    group = backends.chosen(group)
    root = peer(group, "root", root)
    found = leaves(params)
    types = [agree.type_name(leaf) for leaf in found]
    if group.core is None:
        return params
    agree.check_structure("broadcast_tree", agree.describe(found), group, timeout, f"root={root}")

    def operation(flat: Any, wait: bool) -> Any:
        out = None if arrays.is_mlx(flat) or arrays.is_on_device(flat) else flat
        return collectives.broadcast(flat, root, group=group, timeout=timeout, out=out, wait=wait)

    return rebuild(params, _moved(found, types, PACK_BYTES, operation))


def plan(keys: Sequence[Any], sizes: Sequence[int], limit: float) -> list[list[int]]:
    """Return the packs as lists of indices: equal keys together, in order, each full at `limit` bytes.

    >>> plan(["f", "f", "h", "f"], [40, 40, 20, 40], 80)
    [[0, 1], [2], [3]]
    """
    packs: list[list[int]] = []
    is_open: dict[Any, tuple[list[int], int]] = {}
    for index, (key, n_bytes) in enumerate(zip(keys, sizes, strict=True)):
        pack, filled = is_open.pop(key, ([], 0))
        if not pack:
            packs.append(pack)
        pack.append(index)
        if filled + n_bytes < limit:
            is_open[key] = (pack, filled + n_bytes)
    return packs


def _moved(found: list[Leaf], types: list[str], limit: float, operation: Operation) -> list[Any]:
    """Return the leaves after `operation`, each in its own kind and type."""
    keys = [(_launcher(leaf.value), name) for leaf, name in zip(found, types, strict=True)]
    sizes = [_n_bytes(leaf, name) for leaf, name in zip(found, types, strict=True)]
    packs = plan(keys, sizes, limit)
    results: list[Any] = [None] * len(found)
    travelling: deque[tuple[list[int], Landing]] = deque()
    for pack in packs:
        launch = keys[pack[0]][0]
        values = [found[index].value for index in pack]
        # Nothing is left to be done beside the last one.
        travelling.append((pack, launch(values, types[pack[0]], operation, pack is packs[-1])))
        if len(travelling) > 1:
            _land(*travelling.popleft(), results)
    for pack, landing in travelling:
        _land(pack, landing, results)
    return results


def _land(pack: list[int], landing: Landing, results: list[Any]) -> None:
    for index, result in zip(pack, landing(), strict=True):
        results[index] = result


def _launch_numpy(values: list[Any], type_name: str, operation: Operation, wait: bool) -> Landing:
    operands = [arrays.operand(value) for value in values]
    sizes = [operand.data.size for operand in operands]
    flat = outputs.empty((sum(sizes),), arrays.element_type(type_name))
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    for part, operand in zip(parts, operands, strict=True):
        np.copyto(part, operand.data.reshape(-1), casting="unsafe")
    handle = operation(flat, wait)

    def land() -> list[Any]:
        if not wait:
            handle.wait()
        return [
            operand.finish(part.reshape(operand.data.shape).astype(operand.data.dtype, copy=False))
            for part, operand in zip(parts, operands, strict=True)
        ]

    return land


def _launch_mlx(values: list[Any], type_name: str, operation: Operation, _: bool) -> Landing:
    mx = sys.modules["mlx.core"]
    number = getattr(mx, "bool_" if type_name == "bool" else type_name)
    flat = operation(mx.concatenate([value.reshape(-1).astype(number) for value in values]), True)
    ends = np.cumsum([value.size for value in values]).tolist()
    parts = mx.split(flat, ends[:-1])
    pairs = zip(parts, values, strict=True)
    averaged = [part.reshape(value.shape).astype(value.dtype) for part, value in pairs]
    return lambda: averaged


def _launch_device(values: list[Any], type_name: str, operation: Operation, _: bool) -> Landing:
    """Move each array by itself: what packing saves is less there than its copies cost."""
    own = [arrays.type_name(value) for value in values]
    handles = [operation(_converted(value, type_name), False) for value in values]
    return lambda: [_converted(handle.wait(), name) for handle, name in zip(handles, own, strict=True)]


def _converted(x: Any, type_name: str) -> Any:
    """Return an array on a device as one of another element type, by its own library."""
    if arrays.type_name(x) == type_name:
        return x
    library = arrays.reader(x)
    if library is not None and hasattr(library, "converted"):
        return library.converted(x, type_name)
    return x.astype(type_name)


def _launcher(x: Any) -> Callable[[list[Any], str, Operation, bool], Landing]:
    if arrays.is_mlx(x):
        return _launch_mlx
    return _launch_device if arrays.is_on_device(x) else _launch_numpy


def _averaged_type(leaf: Leaf, travel: str | None) -> str:
    """Return the element type in which a leaf travels."""
    name = agree.type_name(leaf)
    if not arrays.is_floating(name):
        where = f"average_gradients: {leaf.path or 'the tree'}"
        raise TypeError(
            complaint(where, "integers have no mean of their type", got=name, expected="a floating type")
        )
    if travel is not None and (name == "complex64") != (travel == "complex64"):
        where, kind = (
            f"average_gradients: {leaf.path or 'the tree'}",
            "complex" if name == "complex64" else "real",
        )
        raise TypeError(complaint(where, f"{kind} numbers cannot travel as {travel}", got=name))
    return travel or name


def _type_name(dtype: Any) -> str:
    """Return NumPy's name of what `communication_type` may be: a type of NumPy or MLX, or a name."""
    name = str(dtype).rpartition(".")[2]  # "mlx.core.float16"
    if name not in arrays.DTYPES:
        name = arrays.element_type(dtype).name
    if not arrays.is_floating(name):
        expected = "float16, bfloat16, float32, float64 or complex64"
        raise TypeError(complaint("communication_type", "not a floating type", got=name, expected=expected))
    return name


def _n_bytes(leaf: Leaf, type_name: str) -> int:
    return math.prod(arrays.shape_of(leaf.value)) * arrays.ITEM_BYTES[arrays.DTYPES.index(type_name)]
