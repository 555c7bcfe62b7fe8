"""Where device arrays lie, and results of the same library, over the stand-in's memory."""

from __future__ import annotations

import ctypes
import gc
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobkit.errors import BackendError
from jobkit.native import arrays
from jobkit.native.nccl import cuda, dlpack, memory

FLOAT32 = arrays.DTYPES.index("float32")


class Foreign:
    """An array of some library, described by one of the two protocols."""

    def __init__(self, own: memory.DeviceArray, **interface: Any) -> None:
        self.own = own
        if interface.pop("dlpack", False):
            self.__class__ = DlpackOnly
        else:
            self.__cuda_array_interface__ = {**own.__cuda_array_interface__, **interface}


class DlpackOnly:
    own: memory.DeviceArray
    stream = None

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA, 0

    def __dlpack__(self, stream: int | None = None) -> Any:
        self.stream = stream
        return self.own.__dlpack__()


@pytest.fixture
def own(device: cuda.Device) -> memory.DeviceArray:
    made = memory.DeviceArray((2, 3), FLOAT32, device)
    x = np.arange(6, dtype=np.float32)
    ctypes.memmove(made.memory.pointer, x.ctypes.data, x.nbytes)
    return made


def test_an_array_of_cudas_interface_is_read_on_its_own_stream(own: Any, device: cuda.Device) -> None:
    found = memory.read(Foreign(own, stream=5), device, 9)
    assert found[:4] == (own.memory.pointer, (2, 3), FLOAT32, 5)
    assert memory.read(Foreign(own), device, 9).stream is None


def test_an_array_of_dlpack_is_read_by_the_stream_given(own: Any, device: cuda.Device) -> None:
    x = Foreign(own, dlpack=True)
    found = memory.read(x, device, 9)
    assert found[:4] == (own.memory.pointer, (2, 3), FLOAT32, None)
    assert x.stream == 9  # type: ignore[attr-defined]
    assert memory.to_host(x, device, 0).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_elements_in_another_order_are_refused(own: Any, device: cuda.Device) -> None:
    with pytest.raises(TypeError, match=r"array: not contiguous, got .*Foreign', expected elements one"):
        memory.read(Foreign(own, strides=(4, 8)), device, 0)
    assert memory.read(Foreign(own, strides=(12, 4)), device, 0).shape == (2, 3)


def test_cupy_makes_copies_and_results_itself(
    own: Any, device: cuda.Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CuPy needs a GPU: this has its names only."""

    class ndarray(Foreign):
        data = types.SimpleNamespace(ptr=own.memory.pointer)

    ndarray.__module__ = "cupy"
    copied: list[Any] = []

    def copy(x: Any) -> Any:
        copied.append(x)
        return ndarray(own)

    cupy = types.SimpleNamespace(ascontiguousarray=copy, empty=lambda shape, dtype: (shape, dtype))
    cupy.empty = lambda shape, dtype: ndarray(own)  # noqa: ARG005
    monkeypatch.setitem(__import__("sys").modules, "cupy", cupy)
    x = ndarray(own, strides=(4, 8))
    assert memory.read(x, device, 0).pointer == own.memory.pointer
    assert copied == [x]
    found, finish = memory.new(x, (2, 3), FLOAT32, device)
    assert found.pointer == own.memory.pointer
    assert type(finish()) is ndarray


def test_types_that_are_not_served_are_refused(own: Any, device: cuda.Device) -> None:
    with pytest.raises(TypeError, match="dtype: not supported, got 'complex128'"):
        memory.read(Foreign(own, typestr="<c16", shape=(1,)), device, 0)
    with pytest.raises(TypeError, match="array: masked"):
        memory.read(Foreign(own, mask=own), device, 0)


def test_memory_of_another_device_is_refused(own: Any, device: cuda.Device) -> None:
    other = cuda.Device(device.driver, 0)
    other.ordinal = 1
    with pytest.raises(
        TypeError, match="on another device than this rank's, got 'device 0', expected device 1"
    ):
        memory.read(own, other, 0)


def test_what_cannot_be_written_is_refused(own: Any, device: cuda.Device) -> None:
    with pytest.raises(TypeError, match="all_sum: out: elsewhere, got 'ndarray'"):
        memory.writable("all_sum", np.zeros(3), device, 0)
    with pytest.raises(TypeError, match="all_sum: out: cannot be written"):
        memory.writable("all_sum", Foreign(own, data=(own.memory.pointer, True)), device, 0)
    with pytest.raises(TypeError, match="all_sum: out: cannot be written"):
        memory.writable("all_sum", Foreign(own, dlpack=True), device, 0)
    x = Foreign(own)
    found, finish = memory.writable("all_sum", x, device, 0)
    assert found.pointer == own.memory.pointer
    assert finish() is x


def test_a_result_of_an_unknown_library_is_offered_by_both_protocols(
    device: cuda.Device, standin: Path
) -> None:
    standin_bytes = ctypes.CDLL(str(standin)).standin_bytes
    standin_bytes.restype = ctypes.c_size_t
    gc.collect()
    before = standin_bytes()
    _, finish = memory.new(object(), (4,), arrays.BFLOAT16, device)
    made = finish()
    assert standin_bytes() == before + 8
    assert made.__dlpack_device__() == (dlpack.CUDA, 0)
    taken = dlpack.read(made)
    assert taken[:5] == (made.memory.pointer, (4,), "bfloat16", dlpack.CUDA, 0)
    assert made.__cuda_array_interface__["typestr"] == "<V2"
    assert repr(made) == "<jobkit DeviceArray bfloat16 (4,) on device 0>"
    del made, finish, _
    gc.collect()
    assert standin_bytes() == before + 8
    del taken
    gc.collect()
    assert standin_bytes() == before


def test_a_device_without_memory_left_is_an_error(device: cuda.Device, fault: Callable[..., None]) -> None:
    fault("cuMemAlloc_v2", 1, 2)
    with pytest.raises(BackendError, match="out of memory"):
        memory.DeviceArray((1,), FLOAT32, device)
