"""Which arrays are in the memory of a CUDA device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jobkit import native
from jobkit.native import arrays, devices
from jobkit.native.group import Group


class OnDevice:
    __cuda_array_interface__ = {"shape": (2, 3), "typestr": "<f4", "data": (0, False), "version": 3}  # noqa: RUF012

    def __mul__(self, other: float) -> tuple[str, float]:
        return "scaled", other


class Dlpack:
    dtype = "bfloat16"
    shape = (4,)

    def __init__(self, device_type: int) -> None:
        self.device_type = device_type

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device_type, 0


@pytest.mark.parametrize("x", [OnDevice(), Dlpack(2), Dlpack(13)])
def test_arrays_on_a_device_are_known_by_their_protocols(x: Any) -> None:
    assert devices.is_on_device(x)
    assert arrays.is_on_device(x)
    assert arrays.is_array(x)
    assert arrays.bridge_of(x) == "jobkit.native.nccl.ops"


@pytest.mark.parametrize(
    "x", [np.zeros(3), np.float32(1), 1, 2.0, b"x", bytearray(2), Dlpack(1), None, object()]
)
def test_all_else_is_not(x: Any) -> None:
    assert not arrays.is_on_device(x)


def test_tensors_and_jax_arrays_in_the_hosts_memory_are_not() -> None:
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    assert not arrays.is_on_device(torch.zeros(3))
    assert not arrays.is_on_device(jax.numpy.zeros(3))
    jax.jit(lambda x: x if not arrays.is_on_device(x) else None)(jax.numpy.zeros(3))


def test_their_shape_and_type_are_read_without_a_copy() -> None:
    assert (arrays.type_name(OnDevice()), arrays.shape_of(OnDevice())) == ("float32", (2, 3))
    assert (arrays.type_name(Dlpack(2)), arrays.shape_of(Dlpack(2))) == ("bfloat16", (4,))


def test_alone_a_collective_returns_them(run_ranks: Any) -> None:
    x, alone = OnDevice(), Group(None)
    assert native.all_sum(x, group=alone) is x
    assert native.all_gather(x, group=alone, wait=False).wait() is x
    assert native.all_sum(x, group=alone, scale=0.5) == ("scaled", 0.5)


def test_backends_without_a_part_for_them_say_so(run_ranks: Any) -> None:
    def program(group: Group) -> str:
        with pytest.raises(TypeError) as raised:
            native.all_sum(OnDevice(), group=group)
        with pytest.raises(TypeError, match="recv: in the memory of a device"):
            native.recv((2,), "float32", 1 - group.rank(), like=OnDevice(), group=group)
        return str(raised.value)

    for told in run_ranks(2, program):
        assert "all_sum: in the memory of a device, which the backend ring does not reach" in told
        assert (
            'hint: pass a copy on the host (x.cpu(), jax.device_get(x)), or form a group with backend="nccl"'
            in told
        )
