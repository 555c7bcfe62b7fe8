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
    return _view(_plain(x))


def read_all(tensors: Sequence[torch.Tensor]) -> Array:
    """Return the elements of several tensors, one after the other."""
    for x in tensors:
        memory.check(x)
    return _view(torch.cat([x.detach().reshape(-1) for x in tensors]))


def split(data: Array, sizes: Sequence[int]) -> list[Array]:
    """Return parts of 1-d memory, in proportion to `sizes`."""
    unit = data.size // max(1, sum(sizes))
    return np.split(data, np.cumsum(sizes)[:-1] * unit)


@contextlib.contextmanager
def written(x: torch.Tensor) -> Iterator[Array]:
    """Give memory that becomes the elements of a tensor: its own where they lie there, else a copy."""
    whole = _plain(x)
    yield _view(whole)
    if whole.data_ptr() != x.data_ptr():
        x.detach().copy_(whole)
    torch.autograd.graph.increment_version(x)


@contextlib.contextmanager
def all_written(tensors: Sequence[torch.Tensor]) -> Iterator[Array]:
    """Give memory that becomes the elements of several tensors, one after the other."""
    for x in tensors:
        memory.check(x)
    whole = torch.empty(sum(x.numel() for x in tensors), dtype=tensors[0].dtype)
    yield _view(whole)
    for x, part in zip(tensors, whole.split([x.numel() for x in tensors]), strict=True):
        x.detach().copy_(part.reshape(x.shape))
        torch.autograd.graph.increment_version(x)


def _plain(x: torch.Tensor) -> torch.Tensor:
    """Return a tensor whose memory is its elements in order: `x` where it is one."""
    memory.check(x)
    # A conjugate or negative may be one that is computed when it is read.
    return x.detach().contiguous().resolve_conj().resolve_neg()


def _view(x: torch.Tensor) -> Array:
    flat = x.view(-1)
    return memory.array(flat if memory.element_type(x.dtype) in arrays.DTYPES else flat.view(torch.uint8))
