"""jobkit's own engine, through `jobkit.native`, on NumPy arrays."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import jobkit
from jobkit import native as dist
from jobkit.native.arrays import DTYPES

from . import loop
from .library import IN_PLACE, OUT, Call, Library, UnservedError


def make() -> Library:
    """Form the group that the environment describes."""
    return Native()


class Native(Library):
    """The group of `jobkit.native.init`."""

    def __init__(self) -> None:
        self._group = group = dist.init(strict=True)
        self.rank, self.size = group.rank(), group.size()
        self.version = f"jobkit {jobkit.__version__}"

    def form(self, wanted: str, op: str) -> str:
        """Return the form: a message makes its own memory."""
        return "alloc" if op == "send" else wanted

    def barrier(self) -> None:
        """Return when every rank has called it."""
        dist.barrier()

    def array(self, values: np.ndarray[Any, Any], dtype: str) -> Any:
        """Return a NumPy array; bfloat16 is that of the package ml_dtypes."""
        if dtype != "bfloat16":
            return values
        import ml_dtypes

        return values.astype(ml_dtypes.bfloat16)

    def numpy(self, x: Any) -> np.ndarray[Any, Any]:
        """Return the array itself, or bfloat16 as float32."""
        return x.astype(np.float32) if x.dtype.name == "bfloat16" else np.asarray(x)

    def call(self, op: str, x: Any, form: str) -> Call:
        """Return an operation on `x`."""
        if op == "send":
            return Call(_there_and_back(x, self.rank, self.partner()), times=2)
        functions: dict[str, Callable[..., Any]] = {
            "all_sum": dist.all_sum,
            "all_gather": dist.all_gather,
            "sum_scatter": dist.sum_scatter,
            "broadcast": partial(dist.broadcast, root=0),
            "all_to_all": dist.all_to_all,
        }
        function = functions[op]
        if form == OUT:
            out = np.ones(_length(op, x.size, self.size), x.dtype)
            return Call(partial(function, x, out=out), out)
        if form == IN_PLACE:
            if _length(op, x.size, self.size) != x.size:
                raise UnservedError(f"{op} in place")
            return Call(partial(function, x, out=x), x)
        return Call(partial(function, x))

    def engine(self, x: Any, out: Any) -> Callable[[int], float]:
        """Return the loop around the engine's C interface."""
        core = importlib.import_module("jobkit.native._core")
        return loop.engine(core, self._group.core, x, out, DTYPES.index(x.dtype.name))


def _length(op: str, count: int, size: int) -> int:
    return {"all_gather": count * size, "sum_scatter": count // size}.get(op, count)


def _there_and_back(x: Any, rank: int, partner: int | None) -> Callable[[], Any]:
    if partner is None:
        return lambda: x

    def first() -> Any:
        dist.send(x, partner)
        return dist.recv_like(x, partner)

    def second() -> Any:
        got = dist.recv_like(x, partner)
        dist.send(x, partner)
        return got

    return first if rank < partner else second
