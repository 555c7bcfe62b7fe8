"""Arrays in the memory of a CUDA device: where they lie, on which stream, and new ones like them."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jobkit.errors import complaint
from jobkit.native import arrays
from jobkit.native.nccl import dlpack
from jobkit.native.nccl.cuda import Device


class Memory(NamedTuple):
    """An array in a device's memory, its elements in C's order.

    Attributes:
        pointer: Of its first element; 0 may be where there is none.
        shape: Its.
        code: Its element type, an index into `arrays.DTYPES`.
        stream: Where its library works on it; None where nothing is on its way.
        owner: Keeps the memory.
    """

    pointer: int
    shape: tuple[int, ...]
    code: int
    stream: int | None
    owner: Any

    @property
    def size(self) -> int:
        """Its elements."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Its bytes."""
        return self.size * arrays.ITEM_BYTES[self.code]


Finish = Callable[[], Any]  # makes the array that the caller gets, once its memory is written


def read(x: Any, device: Device, stream: int) -> Memory:
    """Return where `x` lies, or a copy of it in C's order.

    Args:
        x: An array for which `arrays.is_on_device`.
        device: Where it has to be.
        stream: One that waits for what `x` waits for, where its library has none of its own to say.

    Raises:
        TypeError: It is on another device, of a type that is not served, or its library makes no such copy.
    """
    library = arrays.reader(x)
    if library is not None and hasattr(library, "device_array"):
        owner, pointer, own = library.device_array(x)
        found = Memory(pointer, tuple(x.shape), arrays.code_of_name(arrays.type_name(x)), own, owner)
    else:
        found = _read(x, stream)
    if found.size > 0:
        _check_device(found, device)
    return found


def writable(name: str, out: Any, device: Device, stream: int) -> tuple[Memory, Finish]:
    """Return where `out` lies, which the operation `name` is to write, and what returns it then.

    Raises:
        TypeError: It cannot be written, or as in `read`.
    """
    where = f"{name}: out"
    if not arrays.is_on_device(out):
        expected = "an array in the memory of the device, as the input is"
        raise TypeError(complaint(where, "elsewhere", got=type(out).__name__, expected=expected))
    library = arrays.reader(out)
    if library is not None and not hasattr(library, "device_array"):
        raise TypeError(complaint(where, "cannot be written: such arrays are immutable", got=_kind(out)))
    found = read(out, device, stream)
    if library is not None:
        own = out.data_ptr()
    else:
        own, is_read_only = getattr(out, "__cuda_array_interface__", {"data": (0, True)})["data"]
        if is_read_only:
            raise TypeError(complaint(where, "cannot be written", got=_kind(out)))
    if found.pointer != own:  # a copy
        raise TypeError(complaint(where, "not contiguous", got=_kind(out), expected="elements in C's order"))
    return found, lambda: library.written(out) if library is not None else out


def new(like: Any, shape: tuple[int, ...], code: int, device: Device) -> tuple[Memory, Finish]:
    """Return memory for a result, and what makes an array of the library of `like` of it.

    PyTorch and CuPy allocate theirs; other libraries take over what is allocated here.
    """
    library, name = arrays.reader(like), arrays.DTYPES[code]
    if library is not None and hasattr(library, "device_result"):
        made, pointer, stream = library.device_result(like, shape, name)
        return Memory(pointer, shape, code, stream, made), lambda: made
    if _is_cupy(like):
        made = sys.modules["cupy"].empty(shape, arrays.element_type(name))
        return Memory(made.data.ptr, shape, code, None, made), lambda: made
    own = DeviceArray(shape, code, device)
    return own.memory, lambda: library.taken_over(own) if library is not None else own


def to_host(x: Any, device: Device, stream: int) -> Any:
    """Return a copy in NumPy's memory, once what is on the array's stream is done."""
    found = read(x, device, stream)
    copy = np.empty(found.shape, arrays.element_type(arrays.DTYPES[found.code]))
    with device.current():
        device.wait_for(stream if found.stream is None else found.stream)
        device.read(copy.ctypes.data, found.pointer, found.n_bytes)
    return copy


class DeviceArray:
    """A result in a device's memory, for libraries that take such over: by DLPack or CUDA's array interface.

    It is what operations return for arrays of a library that jobkit does not know.

    Attributes:
        shape: Its shape.
        dtype: Its element type, as NumPy calls it.
        memory: Where it lies.
    """

    def __init__(self, shape: tuple[int, ...], code: int, device: Device) -> None:
        self.shape = shape
        self.dtype = arrays.DTYPES[code]
        self._device = device
        self._pointer = 0
        with device.current():
            self._pointer = device.allocate(math.prod(shape) * arrays.ITEM_BYTES[code])

    def __repr__(self) -> str:
        return f"<jobkit DeviceArray {self.dtype} {self.shape} on device {self._device.ordinal}>"

    def __del__(self) -> None:
        if self._pointer:
            with contextlib.suppress(Exception), self._device.current():  # at exit CUDA may be gone
                self._device.free(self._pointer)

    @property
    def memory(self) -> Memory:
        """Where it lies."""
        return Memory(self._pointer, self.shape, arrays.code_of_name(self.dtype), None, self)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """See https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html."""
        typestr = "<V2" if self.dtype == "bfloat16" else np.dtype(self.dtype).str
        data = (self._pointer, False)
        return {"shape": self.shape, "typestr": typestr, "data": data, "strides": None, "version": 3}

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return DLPack's numbers of the device."""
        return dlpack.CUDA, self._device.ordinal

    def __dlpack__(self, **_: Any) -> Any:
        """Return a capsule. Nothing is on its way to this memory, so that no stream has to wait."""
        where = dlpack.CUDA, self._device.ordinal
        return dlpack.export(dlpack.Tensor(self._pointer, self.shape, self.dtype, *where, True, self))


def _read(x: Any, stream: int) -> Memory:
    interface = getattr(x, "__cuda_array_interface__", None)
    if interface is None or interface["typestr"][1] == "V":  # bfloat16, which it has no name for
        return _read_dlpack(x, stream)
    if interface.get("mask") is not None:
        raise TypeError(complaint("array", "masked", got=_kind(x), expected="a plain array"))
    dtype, shape, strides = np.dtype(interface["typestr"]), interface["shape"], interface.get("strides")
    if strides is not None and not dlpack.is_contiguous(shape, strides, dtype.itemsize):
        return _read(_in_order(x), stream)
    return Memory(interface["data"][0], tuple(shape), arrays.code_of(dtype), interface.get("stream"), x)


def _read_dlpack(x: Any, stream: int) -> Memory:
    found = dlpack.read(x, stream)
    if not found.is_contiguous:
        return _read_dlpack(_in_order(x), stream)
    return Memory(found.pointer, found.shape, arrays.code_of_name(found.dtype), None, (x, found.owner))


def _in_order(x: Any) -> Any:
    if _is_cupy(x):
        return sys.modules["cupy"].ascontiguousarray(x)
    expected = "elements one after another in C's order"
    raise TypeError(complaint("array", "not contiguous", got=_kind(x), expected=expected))


def _check_device(found: Memory, device: Device) -> None:
    ordinal = device.driver.device_of(found.pointer)
    if ordinal != device.ordinal:
        wrong, expected = "on another device than this rank's", f"device {device.ordinal}"
        hint = f"every rank has one device here, number {device.ordinal} of those in CUDA_VISIBLE_DEVICES"
        raise TypeError(complaint("array", wrong, got=f"device {ordinal}", expected=expected, hint=hint))


def _is_cupy(x: Any) -> bool:
    return type(x).__module__.partition(".")[0] == "cupy"


def _kind(x: Any) -> str:
    return f"{type(x).__module__}.{type(x).__qualname__}"
