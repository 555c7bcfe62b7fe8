"""MLX's own ring."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any

import mlx.core as mx
import numpy as np

from .library import ALLOCATING, Call, Library, UnservedError


def make() -> Library:
    """Form the group that MLX_HOSTFILE describes."""
    return Ring()


class Ring(Library):
    """The group of `mx.distributed.init(backend="ring")`; every call is evaluated before the next one."""

    forms = (ALLOCATING,)

    def __init__(self) -> None:
        mx.set_default_device(mx.cpu)
        self._group = mx.distributed.init(strict=True, backend="ring")
        self.rank, self.size = self._group.rank(), self._group.size()
        self.version = f"MLX {metadata.version('mlx')}"
        self._one = self.array(np.ones(1, np.float32), "float32")

    def barrier(self) -> None:
        """Return when every rank has called it, or nearly: a reduction of one number."""
        mx.eval(mx.distributed.all_sum(self._one, group=self._group))

    def array(self, values: np.ndarray[Any, Any], dtype: str) -> Any:
        """Return an array of MLX in memory."""
        if dtype == "float64":
            raise UnservedError("float64")
        x = mx.array(values).astype(getattr(mx, "bool_" if dtype == "bool" else dtype))
        mx.eval(x)
        return x

    def numpy(self, x: Any) -> np.ndarray[Any, Any]:
        """Return an array of NumPy."""
        return np.array(x.astype(mx.float32) if x.dtype == mx.bfloat16 else x)

    def call(self, op: str, x: Any, form: str) -> Call:  # noqa: ARG002 there is one form
        """Return an operation on `x`; the ring has neither sum_scatter, broadcast nor all_to_all."""
        if op == "send":
            return Call(self._there_and_back(x), times=2)
        if op not in ("all_sum", "all_gather"):
            raise UnservedError(op)
        function, group = getattr(mx.distributed, op), self._group

        def run() -> Any:
            result = function(x, group=group)
            mx.eval(result)
            return result

        return Call(run)

    def _there_and_back(self, x: Any) -> Callable[[], Any]:
        partner, group = self.partner(), self._group
        if partner is None:
            return lambda: x

        def first() -> Any:
            mx.eval(mx.distributed.send(x, partner, group=group))
            got = mx.distributed.recv_like(x, partner, group=group)
            mx.eval(got)
            return got

        def second() -> Any:
            got = mx.distributed.recv_like(x, partner, group=group)
            mx.eval(got)
            mx.eval(mx.distributed.send(x, partner, group=group))
            return got

        return first if self.rank < partner else second
