"""Arrays that libraries pass to each other."""

from __future__ import annotations

import gc
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from jobkit.native import arrays
from jobkit.native.nccl import dlpack


class Exporter:
    def __init__(self, tensor: dlpack.Tensor) -> None:
        self.tensor = tensor

    def __dlpack__(self, **_: Any) -> Any:
        return dlpack.export(self.tensor)

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CPU, 0


@pytest.mark.parametrize("name", [name for name in arrays.DTYPES if name != "bfloat16"])
def test_an_array_is_read_where_it_lies_and_passed_on(name: str) -> None:
    x = np.ones((2, 3), name)
    tensor = dlpack.read(x)
    assert tensor[:6] == (x.ctypes.data, (2, 3), name, dlpack.CPU, 0, True)
    back = np.from_dlpack(Exporter(tensor))
    assert back.ctypes.data == x.ctypes.data
    assert back.dtype == x.dtype
    assert back.shape == x.shape


def test_bfloat16_is_known_although_numpy_has_no_such_type() -> None:
    torch = pytest.importorskip("torch")
    tensor = dlpack.read(torch.arange(6).to(torch.bfloat16))
    assert tensor.dtype == "bfloat16"
    assert torch.from_dlpack(Exporter(tensor)).tolist() == [0, 1, 2, 3, 4, 5]


def test_another_order_of_elements_is_told() -> None:
    x = np.zeros((2, 3))
    assert not dlpack.read(x.T).is_contiguous
    assert not dlpack.read(x[:, ::2]).is_contiguous
    assert dlpack.read(x[:1].T).is_contiguous
    assert dlpack.read(x[:0].T).is_contiguous
    assert dlpack.read(np.zeros(())).is_contiguous


def test_memory_is_kept_as_long_as_somebody_has_it() -> None:
    class Owner:
        alive = 0

        def __init__(self) -> None:
            Owner.alive += 1

        def __del__(self) -> None:
            Owner.alive -= 1

    x = np.arange(3.0)
    tensor = dlpack.read(x)._replace(owner=Owner())
    back = np.from_dlpack(Exporter(tensor))
    unused = dlpack.export(tensor)
    del tensor
    gc.collect()
    assert Owner.alive == 1
    assert back.tolist() == [0, 1, 2]
    del back
    gc.collect()
    assert Owner.alive == 1
    del unused
    gc.collect()
    assert Owner.alive == 0


def test_the_producer_is_told_the_stream() -> None:
    seen = []

    class Producer:
        def __dlpack__(self, **options: Any) -> Any:
            seen.append(options)
            return np.zeros(2).__dlpack__()

    dlpack.read(Producer(), 7)
    dlpack.read(Producer())
    assert seen == [{"stream": 7}, {}]


def test_types_that_numpy_does_not_have_are_refused() -> None:
    x = np.zeros(2, ml_dtypes.int4)
    with pytest.raises((TypeError, BufferError)):
        dlpack.read(x)
