"""Arrays in memory of any device, as libraries pass them to each other: DLPack.

Source: https://dmlc.github.io/dlpack/latest/, version 0 of the C structures (capsules named "dltensor"), and
https://data-apis.org/array-api/latest/design_topics/data_interchange.html.
"""

from __future__ import annotations

import ctypes
import itertools
import math
from ctypes import c_char_p, c_int32, c_int64, c_uint8, c_uint16, c_uint64, c_void_p, py_object
from typing import Any, NamedTuple

from jobkit.errors import complaint

CPU, CUDA, CUDA_MANAGED = 1, 2, 13  # of DLDeviceType
_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}  # of DLDataTypeCode
_NAME, _USED_NAME = b"dltensor", b"used_dltensor"


class Tensor(NamedTuple):
    """Where an array lies.

    Attributes:
        pointer: Of its first element.
        shape: Its.
        dtype: What NumPy calls its element type.
        device_type: One of the numbers above.
        device: The device's ordinal.
        is_contiguous: Whether its elements follow each other in C's order.
        owner: Keeps the memory.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: str
    device_type: int
    device: int
    is_contiguous: bool
    owner: Any


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device", c_int32),
        ("n_dimensions", c_int32),
        ("kind", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", ctypes.POINTER(c_int64)),
        ("strides", ctypes.POINTER(c_int64)),
        ("byte_offset", c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _DLTensor), ("context", c_void_p), ("deleter", c_void_p))


_api = ctypes.pythonapi
_get_pointer = ctypes.PYFUNCTYPE(c_void_p, py_object, c_char_p)(("PyCapsule_GetPointer", _api))
_set_name = ctypes.PYFUNCTYPE(ctypes.c_int, py_object, c_char_p)(("PyCapsule_SetName", _api))
_new_capsule = ctypes.PYFUNCTYPE(py_object, c_void_p, c_char_p, c_void_p)(("PyCapsule_New", _api))
_is_named = ctypes.PYFUNCTYPE(ctypes.c_int, c_void_p, c_char_p)(("PyCapsule_IsValid", _api))
_raw_pointer = ctypes.PYFUNCTYPE(c_void_p, c_void_p, c_char_p)(("PyCapsule_GetPointer", _api))


class _Borrowed:
    """Keeps another library's array until it is dropped."""

    def __init__(self, managed: _Managed, address: int) -> None:
        self._managed = managed
        self._address = address

    def __del__(self) -> None:
        if self._managed.deleter:
            _Deleter(self._managed.deleter)(self._address)


def read(x: Any, stream: int | None = None) -> Tensor:
    """Return where an array lies that has `__dlpack__`, readable by what is on `stream` from now on.

    Raises:
        TypeError: Its elements are of no type that NumPy has, bfloat16 aside.
    """
    capsule = x.__dlpack__() if stream is None else x.__dlpack__(stream=stream)
    address = _get_pointer(capsule, _NAME)
    managed = _Managed.from_address(address)
    _set_name(capsule, _USED_NAME)  # from here on its memory is ours to free
    owner = _Borrowed(managed, address)
    found = managed.tensor
    shape = tuple(found.shape[i] for i in range(found.n_dimensions))
    strides = tuple(found.strides[i] for i in range(found.n_dimensions)) if found.strides else None
    return Tensor(
        pointer=(found.data or 0) + found.byte_offset,
        shape=shape,
        dtype=_dtype(found),
        device_type=found.device_type,
        device=found.device,
        is_contiguous=strides is None or is_contiguous(shape, strides),
        owner=owner,
    )


def export(tensor: Tensor) -> Any:
    """Return a capsule with that array, as `__dlpack__` does. It keeps `tensor.owner`."""
    kind, bits = _code(tensor.dtype)
    n = len(tensor.shape)
    shape = (c_int64 * max(n, 1))(*tensor.shape)
    head = _DLTensor(tensor.pointer, tensor.device_type, tensor.device, n, kind, bits, 1, shape, None, 0)
    key = next(_keys)
    managed = _Managed(head, key, ctypes.cast(_free_export, c_void_p).value)
    _exports[key] = managed, shape, tensor.owner
    return _new_capsule(ctypes.addressof(managed), _NAME, ctypes.cast(_end_capsule, c_void_p))


def is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...], n_item: int = 1) -> bool:
    """Return whether elements follow each other in C's order, where an element is `n_item` of the strides."""
    expected = n_item
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n > 1 and stride != expected and math.prod(shape) > 0:
            return False
        expected *= n
    return True


def _dtype(found: _DLTensor) -> str:
    kind = _KINDS.get(found.kind)
    if kind is None or found.lanes != 1:
        got = f"DLPack type {found.kind} of {found.bits} bits in {found.lanes} lanes"
        raise TypeError(complaint("array", "elements of an unknown type", got=got))
    return kind if kind == "bool" else f"{kind}{found.bits}"


def _code(dtype: str) -> tuple[int, int]:
    kind = dtype.rstrip("0123456789")
    bits = int(dtype[len(kind) :] or 8)
    return next(code for code, name in _KINDS.items() if name == kind), bits


_keys = itertools.count(1)
_exports: dict[int, tuple[Any, ...]] = {}  # what consumers still hold


def _free(address: int) -> None:
    _exports.pop(_Managed.from_address(address).context, None)


def _end(capsule: int) -> None:
    if _is_named(capsule, _NAME):  # nobody took it
        _free(_raw_pointer(capsule, _NAME))


_free_export, _end_capsule = _Deleter(_free), _Deleter(_end)
