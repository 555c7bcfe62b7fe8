"""Tensors as contiguous 1-d memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from jobkit.native.torch import flat


def test_a_contiguous_tensor_is_read_and_written_where_it_lies() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    assert flat.read(x).__array_interface__["data"][0] == x.data_ptr()
    with flat.written(x) as data:
        data += 1
    assert x.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_another_layout_is_read_in_order_and_written_back() -> None:
    x = torch.arange(6.0).reshape(2, 3).T
    assert flat.read(x).tolist() == [0, 3, 1, 4, 2, 5]
    with flat.written(x) as data:
        data[:] = range(6)
    assert x.tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize(
    "view",
    [torch.Tensor.conj, lambda x: x[::2].conj(), lambda x: x.conj().imag],
    ids=["conj", "strided", "neg"],
)
def test_what_is_computed_when_it_is_read_is_written_too(
    view: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype
) -> None:
    x = view(torch.arange(4).to(dtype) + 1j)
    out = view(torch.zeros(4, dtype=dtype))
    with flat.written(out) as data:
        data[:] = flat.read(x)
    assert torch.equal(out, x)


@pytest.mark.parametrize("dtype", [torch.complex128, torch.float8_e5m2], ids=str)
def test_a_type_that_is_not_served_travels_as_bytes(dtype: torch.dtype) -> None:
    x = torch.ones(3).to(dtype)
    data = flat.read(x)
    assert data.dtype == np.uint8
    assert data.size == x.nbytes
    assert [part.size for part in flat.split(data, [2, 1])] == [2 * x.itemsize, x.itemsize]


def test_a_parameter_and_a_scalar_are_no_exception() -> None:
    x = torch.nn.Parameter(torch.tensor(3.0))
    assert flat.read(x).tolist() == [3]
    with flat.written(x) as data:
        data[:] = 4
    assert x.item() == 4


def test_several_tensors_are_one_piece_of_memory() -> None:
    x, y = torch.zeros(2, 2), torch.zeros(3).expand(1, 3)[:, ::2]
    with flat.all_written([x, y]) as data:
        data[:] = range(6)
    assert x.tolist() == [[0, 1], [2, 3]]
    assert y.tolist() == [[4, 5]]
    assert flat.read_all([x, y]).tolist() == [0, 1, 2, 3, 4, 5]
    assert [part.size for part in flat.split(np.zeros(0), [0, 0])] == [0, 0]


def test_autograd_learns_what_was_written() -> None:
    x = torch.ones(2)
    before = x._version
    with flat.written(x):
        pass
    assert x._version > before
