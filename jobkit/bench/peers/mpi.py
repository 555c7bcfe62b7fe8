"""An MPI library, through mpi4py, on NumPy arrays."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import mpi4py
import numpy as np

from .library import ALLOCATING, IN_PLACE, Call, Library, UnservedError

THREAD_LEVEL = "JOBKIT_BENCH_THREAD_LEVEL"  # mpi4py's own word, 'serialized'; its default without


def make() -> Library:
    """Initialise MPI."""
    if THREAD_LEVEL in os.environ:
        mpi4py.rc.thread_level = os.environ[THREAD_LEVEL]
    return World()


class World(Library):
    """COMM_WORLD."""

    def __init__(self) -> None:
        from mpi4py import MPI

        self._mpi, self._comm = MPI, MPI.COMM_WORLD
        self.rank, self.size = self._comm.rank, self._comm.size
        name, numbers = MPI.get_vendor()
        self.version = f"{name} {'.'.join(map(str, numbers))}"

    def form(self, wanted: str, op: str) -> str:
        """Return the form: a message goes to memory that is kept."""
        return "out" if op == "send" else wanted

    def barrier(self) -> None:
        """Return when every rank has called it."""
        self._comm.Barrier()

    def call(self, op: str, x: Any, form: str) -> Call:
        """Return an operation on `x`."""
        length = {"all_gather": x.size * self.size, "sum_scatter": x.size // self.size}.get(op, x.size)
        if op == "send":
            return self._there_and_back(x)
        if op == "broadcast":
            return self._broadcast(x, form)
        function = self._function(op)
        if form == IN_PLACE:
            if length != x.size:
                raise UnservedError(f"{op} in place")
            return Call(partial(function, self._mpi.IN_PLACE, x), x)
        if form == ALLOCATING:
            return Call(_allocating(function, x, length))
        out = np.ones(length, x.dtype)
        return Call(partial(function, x, out), out)

    def _function(self, op: str) -> Callable[..., Any]:
        comm = self._comm
        names = {"all_gather": comm.Allgather, "all_to_all": comm.Alltoall}
        if op in names:
            return names[op]  # type: ignore[no-any-return]
        return comm.Allreduce if op == "all_sum" else comm.Reduce_scatter_block  # type: ignore[no-any-return]

    def _broadcast(self, x: Any, form: str) -> Call:
        """MPI broadcasts in place; for the other forms the root's array is copied first, as ours is."""
        comm, is_root = self._comm, self.rank == 0
        if form == IN_PLACE:
            return Call(partial(comm.Bcast, x, 0), x)
        kept = np.ones_like(x)

        def run() -> Any:
            out = np.empty_like(x) if form == ALLOCATING else kept
            if is_root:
                np.copyto(out, x)
            comm.Bcast(out, 0)
            return out

        return Call(run)

    def _there_and_back(self, x: Any) -> Call:
        partner, comm, out = self.partner(), self._comm, np.ones_like(x)
        if partner is None:
            return Call(lambda: x)

        def first() -> None:
            comm.Send(x, partner)
            comm.Recv(out, partner)

        def second() -> None:
            comm.Recv(out, partner)
            comm.Send(x, partner)

        return Call(first if self.rank < partner else second, out, times=2)


def _allocating(function: Callable[..., Any], x: Any, length: int) -> Callable[[], Any]:
    def run() -> Any:
        out = np.empty(length, x.dtype)
        function(x, out)
        return out

    return run
