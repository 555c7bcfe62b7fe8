"""Tensors of any shape and type as the contiguous 1-d memory that operations take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from jobkit.native import arrays
from jobkit.native.arrays import Array
from jobkit.native.torch import memory


def read(x: torch.Tensor) -> Array:
    """Return the elements of a tensor in one dimension; as bytes where their type is not served."""
    return _view(x.detach().contiguous())


def read_all(tensors: Sequence[torch.Tensor]) -> Array:
    """Return the elements of several tensors, one after the other."""
    return _view(torch.cat([x.detach().reshape(-1) for x in tensors]))


def split(data: Array, sizes: Sequence[int]) -> list[Array]:
    """Return parts of 1-d memory, in proportion to `sizes`."""
    unit = data.size // max(1, sum(sizes))
    return np.split(data, np.cumsum(sizes)[:-1] * unit)


@contextlib.contextmanager
def written(x: torch.Tensor) -> Iterator[Array]:
    """Give memory that becomes the elements of a tensor: its own where it is contiguous, else a copy."""
    whole = x.detach().contiguous()
    yield _view(whole)
    if whole.data_ptr() != x.data_ptr():
        x.detach().copy_(whole)
    torch.autograd.graph.increment_version(x)


@contextlib.contextmanager
def all_written(tensors: Sequence[torch.Tensor]) -> Iterator[Array]:
    """Give memory that becomes the elements of several tensors, one after the other."""
    whole = torch.empty(sum(x.numel() for x in tensors), dtype=tensors[0].dtype)
    yield _view(whole)
    for x, part in zip(tensors, whole.split([x.numel() for x in tensors]), strict=True):
        x.detach().copy_(part.reshape(x.shape))
        torch.autograd.graph.increment_version(x)


def _view(x: torch.Tensor) -> Array:
    is_served = memory.element_type(x.dtype) in arrays.DTYPES
    flat = x.view(-1) if is_served else x.view(-1).view(torch.uint8)
    return memory.array(flat.resolve_conj().resolve_neg())
