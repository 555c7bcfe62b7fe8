"""The operations on arrays in the memory of CUDA devices, by NCCL, for `jobkit.native`'s of these names.

Each runs on the stream on which the array's library works, and is complete when it returns; with `wait` off
when its handle says so. Results are of the input's library and on its device.

bool travels as uint8, whose maximum is "or"; sums of complex64 as those of pairs of float32; what is only
moved, as bytes. Other reductions of types that NCCL does not have are refused. `scale` is applied before the
sum, in the array's own type, as in NCCL's own average. NaN in a maximum or minimum is as NCCL has it.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

from jobkit.errors import complaint
from jobkit.native import arrays, collectives, messages
from jobkit.native.group import Group, seconds
from jobkit.native.handles import Handle
from jobkit.native.nccl import memory, prototypes
from jobkit.native.nccl.communicator import Call
from jobkit.native.nccl.memory import DeviceArray, Finish, Memory
from jobkit.native.nccl.plane import Plane, Signature

BYTES = prototypes.DATA_TYPES["uint8"]
SCATTER = 10  # a code of src/call.h
_OPS = {"sum": prototypes.SUM, "max": prototypes.MAX, "min": prototypes.MIN}


class Carried(NamedTuple):
    """How elements of a type are reduced.

    Attributes:
        data_type: As this of NCCL's types.
        op: By this of its operations.
        width: So many of that type are an element.
    """

    data_type: int
    op: int
    width: int = 1


def all_sum(
    x: Any, *, group: Group, timeout: float | None, out: Any = None, scale: float = 1.0, wait: bool = True
) -> Any:
    """See `jobkit.native.all_sum`."""
    return _all_reduce("sum", x, group, timeout, out, scale, wait)


def all_max(x: Any, *, group: Group, timeout: float | None, out: Any = None, wait: bool = True) -> Any:
    """See `jobkit.native.all_max`."""
    return _all_reduce("max", x, group, timeout, out, 1.0, wait)


def all_min(x: Any, *, group: Group, timeout: float | None, out: Any = None, wait: bool = True) -> Any:
    """See `jobkit.native.all_min`."""
    return _all_reduce("min", x, group, timeout, out, 1.0, wait)


def sum_scatter(
    x: Any,
    op: str = "sum",
    *,
    group: Group,
    timeout: float | None,
    out: Any = None,
    scale: float = 1.0,
    wait: bool = True,
) -> Any:
    """See `jobkit.native.sum_scatter`."""
    name = "sum_scatter"
    run = _Run(name, group, timeout, wait)
    source = run.read(x)
    shape = collectives.part_of(name, source.shape, group.size())
    how = carried(name, arrays.DTYPES[source.code], op)
    target, finish = run.target(x, source, shape, out, part=group.rank())
    call = collectives.SUM_SCATTER + collectives.OPS[op]
    count = target.size * how.width

    def calls(operator: int) -> list[Call]:
        arguments = source.pointer, target.pointer, count, how.data_type, operator
        return [("ncclReduceScatter", arguments)]

    return run.reduce(Signature(call, target.size, source.code), calls, how, source, target, finish, scale)


def all_gather(x: Any, *, group: Group, timeout: float | None, out: Any = None, wait: bool = True) -> Any:
    """See `jobkit.native.all_gather`."""
    run = _Run("all_gather", group, timeout, wait)
    source = run.read(x)
    shape = _joined(source, group.size())
    target, finish = run.target(x, source, shape, out, part=group.rank())
    arguments = source.pointer, target.pointer, source.n_bytes, BYTES
    signature = Signature(collectives.ALL_GATHER, source.size, source.code)
    return run.start(signature, [("ncclAllGather", arguments)], source, target, finish)


def broadcast(
    x: Any, root: int, *, group: Group, timeout: float | None, out: Any = None, wait: bool = True
) -> Any:
    """See `jobkit.native.broadcast`."""
    run = _Run("broadcast", group, timeout, wait)
    source = run.read(x)
    target, finish = run.target(x, source, source.shape, out)
    is_root = group.rank() == root
    first = source.pointer if is_root else target.pointer
    arguments = first, target.pointer, source.n_bytes, BYTES, root
    signature = Signature(collectives.BROADCAST, source.size, source.code, root)
    return run.start(signature, [("ncclBroadcast", arguments)], source, target, finish)


def all_to_all(x: Any, *, group: Group, timeout: float | None, out: Any = None, wait: bool = True) -> Any:
    """See `jobkit.native.all_to_all`."""
    name, size = "all_to_all", group.size()
    run = _Run(name, group, timeout, wait)
    source = run.read(x)
    collectives.part_of(name, source.shape, size)
    target, finish = run.target(x, source, source.shape, out)
    if target.pointer == source.pointer:  # blocks arrive while others have yet to leave
        source = run.copy(source)
    n_bytes = source.n_bytes // size
    calls = [
        call
        for rank in range(size)
        for call in (
            _send(source.pointer + rank * n_bytes, n_bytes, rank),
            _recv(target.pointer + rank * n_bytes, n_bytes, rank),
        )
    ]
    signature = Signature(collectives.ALL_TO_ALL, source.size // size, source.code)
    return run.start(signature, calls, source, target, finish)


def gather(
    x: Any, root: int, *, group: Group, timeout: float | None, out: Any = None, wait: bool = True
) -> Any:
    """See `jobkit.native.gather`."""
    run = _Run("gather", group, timeout, wait)
    source = run.read(x)
    signature = Signature(collectives.GATHER, source.size, source.code, root)
    calls = [_send(source.pointer, source.n_bytes, root)]
    if group.rank() != root:
        return run.start(signature, calls, source, source, lambda: None)
    shape = _joined(source, group.size())
    target, finish = run.target(x, source, shape, out, part=root)
    if _is_inside(source, target):
        source = run.copy(source)
        calls = [_send(source.pointer, source.n_bytes, root)]
    for rank in range(group.size()):
        calls.append(_recv(target.pointer + rank * source.n_bytes, source.n_bytes, rank))
    return run.start(signature, calls, source, target, finish)


def scatter(
    x: Any, root: int, *, group: Group, timeout: float | None, out: Any = None, wait: bool = True
) -> Any:
    """See `jobkit.native.scatter`. Every rank passes an array on its device."""
    name, size = "scatter", group.size()
    run = _Run(name, group, timeout, wait)
    source = run.read(x)
    is_root = group.rank() == root
    given = (source.shape, source.code) if is_root else None
    shape, code = collectives.agree_on_shape(given, root, group, timeout)
    part = collectives.part_of(name, shape, size)
    target, finish = run.target(x, Memory(0, shape, code, source.stream, None), part, out)
    calls = [_recv(target.pointer, target.n_bytes, root)]
    if is_root:
        if _is_inside(target, source):
            source = run.copy(source)
        for rank in range(size):
            calls.append(_send(source.pointer + rank * target.n_bytes, target.n_bytes, rank))
    return run.start(Signature(SCATTER, target.size, code, root), calls, source, target, finish)


def send(x: Any, dst: int, *, tag: int = 0, group: Group, timeout: float | None, wait: bool = True) -> Any:
    """See `jobkit.native.send`. Returns once `dst` has it."""
    run = _Run("send", group, timeout, wait, tag)
    source = run.read(x)
    signature = Signature(messages.SEND, source.size, source.code, dst)
    return run.start(signature, [_send(source.pointer, source.n_bytes, dst)], source, source, lambda: x)


def recv(
    shape: tuple[int, ...],
    dtype: Any,
    src: int,
    *,
    tag: int = 0,
    like: Any,
    group: Group,
    timeout: float | None,
    wait: bool = True,
) -> Any:
    """See `jobkit.native.recv`. `like` is an array on the device."""
    name = str(dtype).rpartition(".")[2]
    code = arrays.code_of_name(name if name in arrays.DTYPES else arrays.element_type(dtype).name)
    return _receive(_Run("recv", group, timeout, wait, tag), like, tuple(shape), code, src)


def recv_like(
    x: Any, src: int, *, tag: int = 0, group: Group, timeout: float | None, wait: bool = True
) -> Any:
    """See `jobkit.native.recv_like`."""
    run = _Run("recv", group, timeout, wait, tag)
    source = run.read(x)
    return _receive(run, x, source.shape, source.code, src)


def sendrecv(
    x: Any,
    dst: int,
    src: int,
    *,
    tag: int = 0,
    like: Any,
    group: Group,
    timeout: float | None,
    wait: bool = True,
) -> Any:
    """See `jobkit.native.sendrecv`."""
    run = _Run("sendrecv", group, timeout, wait, tag)
    source, shape = run.read(x), run.read(like).shape
    target, finish = memory.new(like, shape, source.code, run.plane.device)
    calls = [_send(source.pointer, source.n_bytes, dst), _recv(target.pointer, target.n_bytes, src)]
    signature = Signature(messages.SENDRECV, source.size, source.code, dst, src, target.size)
    return run.start(signature, calls, source, target, finish)


def to_host(x: Any, *, group: Group, wait: bool) -> Any:  # noqa: ARG001 all operations take it
    """Return a copy in NumPy's memory."""
    run = _Run("to_host", group, None, wait=True)
    return memory.to_host(x, run.plane.device, run.plane.stream)


def carried(name: str, dtype: str, op: str) -> Carried:
    """Return how NCCL reduces elements of a type.

    Raises:
        TypeError: It cannot.
    """
    found = prototypes.DATA_TYPES.get(dtype)
    if found is not None:
        return Carried(found, _OPS[op])
    if dtype == "bool":
        return Carried(BYTES, prototypes.MIN if op == "min" else prototypes.MAX)
    if dtype == "complex64" and op == "sum":
        return Carried(prototypes.DATA_TYPES["float32"], prototypes.SUM, 2)
    what = "maximum and minimum" if dtype == "complex64" else "reductions"
    expected = f"one of {', '.join(prototypes.DATA_TYPES)}"
    hint = f"copy it to the host, where all types are served, or convert it: NCCL has no {what} of {dtype}"
    raise TypeError(complaint(name, "NCCL cannot reduce this type", got=dtype, expected=expected, hint=hint))


class _Run:
    """One call: what its parts have in common."""

    def __init__(self, name: str, group: Group, timeout: float | None, wait: bool, tag: int = 0) -> None:
        assert group.devices is not None, "collectives.on_device has looked"
        if tag != 0:
            hint = "messages of device arrays between two ranks arrive in the order of sending"
            raise ValueError(complaint(f"{name}: tag", "NCCL has none", got=tag, expected="0", hint=hint))
        self.name = name
        self.plane: Plane = group.devices
        self.group = group
        self._timeout_s = seconds(timeout)
        self._wait = wait
        self._keeps: list[Any] = []

    def read(self, x: Any) -> Memory:
        return memory.read(x, self.plane.device, self.plane.stream)

    def target(
        self, x: Any, source: Memory, shape: tuple[int, ...], out: Any, part: int | None = None
    ) -> tuple[Memory, Finish]:
        """Return where the result goes. In place is `out` as `source`, or as part `part` of the larger."""
        if out is None:
            return memory.new(x, shape, source.code, self.plane.device)
        found, finish = memory.writable(self.name, out, self.plane.device, self.plane.stream)
        where = f"{self.name}: out"
        if found.shape != shape:
            raise ValueError(complaint(where, "wrong shape", got=found.shape, expected=str(shape)))
        if found.code != source.code:
            got, expected = arrays.DTYPES[found.code], arrays.DTYPES[source.code]
            raise ValueError(complaint(where, "wrong type", got=got, expected=expected))
        if _overlap(source, found) and not _is_in_place(source, found, part):
            expected = "the input itself, or other memory"
            raise ValueError(complaint(where, "overlaps the input in part", expected=expected))
        return found, finish

    def copy(self, source: Memory) -> Memory:
        """Return a copy of an input that the operation itself would write over."""
        device = self.plane.device
        made = DeviceArray(source.shape, source.code, device).memory
        with device.current():
            device.copy(made.pointer, source.pointer, source.n_bytes, self._stream(source))
        self._keeps.append(source)
        return made._replace(stream=source.stream)

    def reduce(
        self,
        signature: Signature,
        calls: Any,
        how: Carried,
        source: Memory,
        target: Memory,
        finish: Finish,
        scale: float,
    ) -> Any:
        """Start a reduction by what `calls` returns for an operator."""
        if scale == 1.0:
            return self.start(signature, calls(how.op), source, target, finish)
        operator = self.plane.scaled_sum(_number(scale, how.data_type), how.data_type)
        result = self.start(signature, calls(operator), source, target, finish)
        self.plane.end_operator(operator)
        return result

    def start(
        self, signature: Signature, calls: list[Call], source: Memory, target: Memory, finish: Finish
    ) -> Any:
        """Return the result, or without waiting a handle on it."""
        is_empty = source.n_bytes == 0 and target.n_bytes == 0
        pending = self.plane.start(
            self.name,
            signature,
            [] if is_empty else calls,
            self._stream(source),
            (source, target, self._keeps),
            self._timeout_s,
            wait=self._wait,
        )
        return finish() if self._wait else Handle(self.name, pending, finish)

    def _stream(self, source: Memory) -> int:
        return self.plane.stream if source.stream is None else source.stream


def _all_reduce(
    op: str, x: Any, group: Group, timeout: float | None, out: Any, scale: float, wait: bool
) -> Any:
    name = f"all_{op}"
    run = _Run(name, group, timeout, wait)
    source = run.read(x)
    how = carried(name, arrays.DTYPES[source.code], op)
    target, finish = run.target(x, source, source.shape, out)
    count = source.size * how.width

    def calls(operator: int) -> list[Call]:
        return [("ncclAllReduce", (source.pointer, target.pointer, count, how.data_type, operator))]

    signature = Signature(collectives.OPS[op], source.size, source.code)
    return run.reduce(signature, calls, how, source, target, finish, scale)


def _receive(run: _Run, like: Any, shape: tuple[int, ...], code: int, src: int) -> Any:
    target, finish = memory.new(like, shape, code, run.plane.device)
    stream = run.read(like).stream
    source = Memory(0, (0,), code, stream, None)
    signature = Signature(messages.RECV, target.size, code, src)
    return run.start(signature, [_recv(target.pointer, target.n_bytes, src)], source, target, finish)


def _send(pointer: int, n_bytes: int, rank: int) -> Call:
    return "ncclSend", (pointer, n_bytes, BYTES, rank)


def _recv(pointer: int, n_bytes: int, rank: int) -> Call:
    return "ncclRecv", (pointer, n_bytes, BYTES, rank)


def _joined(source: Memory, size: int) -> tuple[int, ...]:
    shape = source.shape
    return (size * shape[0], *shape[1:]) if shape else (size,)


def _overlap(a: Memory, b: Memory) -> bool:
    return a.pointer < b.pointer + b.n_bytes and b.pointer < a.pointer + a.n_bytes


def _is_inside(part: Memory, whole: Memory) -> bool:
    return _overlap(part, whole) and part.n_bytes < whole.n_bytes


def _is_in_place(source: Memory, out: Memory, part: int | None) -> bool:
    if source.size == out.size:
        return source.pointer == out.pointer
    small, large = (source, out) if source.size < out.size else (out, source)
    return part is not None and small.pointer == large.pointer + part * small.n_bytes


def _number(scale: float, data_type: int) -> bytes:
    """Return a number as one of NCCL's floating types."""
    name = next(name for name, code in prototypes.DATA_TYPES.items() if code == data_type)
    if name != "bfloat16":
        return np.array(scale, name).tobytes()
    bits = int.from_bytes(struct.pack("<f", scale), "little")
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16  # to nearest, ties to even
    return struct.pack("<H", rounded)
