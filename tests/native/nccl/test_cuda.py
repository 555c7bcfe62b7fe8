"""What is asked of the CUDA driver, over the stand-in."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

import pytest

from jobkit.errors import BackendError
from jobkit.native.nccl import cuda

DEADLINE_S = 60.0


def test_without_a_driver_the_error_says_what_is_needed() -> None:
    with pytest.raises(
        BackendError, match=r"libcuda: cannot be loaded: .*\n\nhint: this needs an NVIDIA GPU"
    ):
        cuda.driver({cuda.LIBRARY: "/no/such/libcuda.so.1"})


def test_events_are_reached_in_the_order_of_their_stream(device: cuda.Device) -> None:
    with device.current():
        stream = device.stream()
        source, target = device.allocate(8), device.allocate(8)
        ctypes.memmove(source, b"12345678", 8)
        device.copy(target, source, 8, stream)
        event = device.event()
        device.record(event, stream)
        deadline = time.monotonic() + DEADLINE_S
        while not device.driver.is_complete(event):
            assert time.monotonic() < deadline
        back = ctypes.create_string_buffer(8)
        device.read(ctypes.addressof(back), target, 8)
        assert back.raw == b"12345678"
        assert device.driver.device_of(target + 7) == 0
        device.end_event(event)
        device.wait_for(stream)
        device.end_stream(stream)
        device.free(source)
        device.free(target)


def test_errors_say_which_call_and_what_it_means(device: cuda.Device, fault: Callable[..., None]) -> None:
    with device.current():
        fault("cuMemAlloc_v2", 1, 2)
        with pytest.raises(BackendError, match=r"CUDA: cuMemAlloc_v2: out of memory \(2\)"):
            device.allocate(8)
        event = device.event()
        fault("cuEventQuery", 1, 700)
        with pytest.raises(BackendError, match="failed: an illegal memory access"):
            device.driver.is_complete(event)
    with pytest.raises(BackendError, match="cuPointerGetAttribute: invalid argument"):
        device.driver.device_of(1)


def test_a_device_that_is_not_there_is_an_error(device: cuda.Device) -> None:
    assert device.driver.n_devices() == 1
    with pytest.raises(BackendError, match="cuDeviceGet: invalid argument"):
        cuda.Device(device.driver, 1)
