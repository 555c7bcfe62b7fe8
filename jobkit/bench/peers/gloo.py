"""gloo, through torch.distributed."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from .library import IN_PLACE, Call, Library, UnservedError


def make() -> Library:
    """Form the process group that MASTER_ADDR and the rest describe."""
    return Gloo()


class Gloo(Library):
    """The default process group; reductions and broadcasts are in place, as torch has them."""

    forms = (IN_PLACE,)

    def __init__(self) -> None:
        torch.set_num_threads(1)
        dist.init_process_group("gloo")
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.version = f"gloo (torch {torch.__version__})"

    def form(self, wanted: str, op: str) -> str:  # noqa: ARG002 each operation has one
        """Return the form, which the operation alone decides."""
        return IN_PLACE if op in ("all_sum", "broadcast") else "out"

    def barrier(self) -> None:
        """Return when every rank has called it."""
        dist.barrier()

    def array(self, values: np.ndarray[Any, Any], dtype: str) -> Any:
        """Return a tensor."""
        return torch.from_numpy(values).to(getattr(torch, dtype))

    def numpy(self, x: Any) -> np.ndarray[Any, Any]:
        """Return an array of NumPy."""
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy()  # type: ignore[no-any-return]

    def call(self, op: str, x: Any, form: str) -> Call:  # noqa: ARG002 each operation has one
        """Return an operation on `x`."""
        if op == "all_sum":
            return Call(partial(dist.all_reduce, x), x)
        if op == "broadcast":
            return Call(partial(dist.broadcast, x, 0), x)
        if op == "send":
            return self._there_and_back(x)
        if op == "all_gather":
            out = x.new_ones(x.numel() * self.size)
            return Call(partial(dist.all_gather_into_tensor, out, x), out)
        if op == "all_to_all":
            out = torch.ones_like(x)
            return Call(partial(dist.all_to_all_single, out, x), out)
        if op == "sum_scatter":
            out = x.new_ones(x.numel() // self.size)
            return Call(partial(dist.reduce_scatter_tensor, out, x), out)
        raise UnservedError(op)

    def _there_and_back(self, x: Any) -> Call:
        partner, out = self.partner(), torch.ones_like(x)
        if partner is None:
            return Call(lambda: x)

        def first() -> None:
            dist.send(x, partner)
            dist.recv(out, partner)

        def second() -> None:
            dist.recv(out, partner)
            dist.send(x, partner)

        return Call(first if self.rank < partner else second, out, times=2)

    def close(self) -> None:
        """Leave the group."""
        dist.destroy_process_group()
