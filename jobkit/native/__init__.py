"""Communicate between the ranks of a job, with the operations of `mx.distributed` and more.

    import jobkit.native as dist

    world = dist.init()
    total = dist.all_sum(x)  # x: a NumPy array, an MLX array, a number, a buffer
    later = dist.all_sum(x, wait=False)  # goes on; later.wait() returns the result

In a group of one every collective returns its input, so that a program needs no check for it.
"""

from __future__ import annotations

import os

from jobkit.native import backends
from jobkit.native.agree import assert_same
from jobkit.native.collectives import (
    all_gather,
    all_max,
    all_min,
    all_sum,
    all_to_all,
    barrier,
    broadcast,
    gather,
    scatter,
    sum_scatter,
)
from jobkit.native.group import Group
from jobkit.native.handles import Handle
from jobkit.native.messages import recv, recv_like, send, sendrecv
from jobkit.native.objects import all_gather_object, broadcast_object
from jobkit.native.packs import average_gradients, broadcast_tree

__all__ = [
    "Group",
    "Handle",
    "all_gather",
    "all_gather_object",
    "all_max",
    "all_min",
    "all_sum",
    "all_to_all",
    "assert_same",
    "average_gradients",
    "barrier",
    "broadcast",
    "broadcast_object",
    "broadcast_tree",
    "gather",
    "init",
    "is_available",
    "recv",
    "recv_like",
    "scatter",
    "send",
    "sendrecv",
    "shutdown",
    "split",
    "sum_scatter",
]


def init(strict: bool = False, backend: str = "any") -> Group:
    """Return the group of all ranks of the job, forming it at the first call. Collective at that call.

    A named backend's group is kept: a later call with that name returns it. The first group that was formed
    is also what `init()` and `init(backend="any")` return from then on, and what operations without `group=`
    use.

    Args:
        strict: Raise where no backend is configured, instead of returning a group of one.
        backend: "ring", "jaccl", "mpi", "nccl", or "any": what JOBKIT_BACKEND names, else the first of nccl,
            ring, mpi and jaccl that is configured.

    Raises:
        ValueError: There is no such backend.
        BackendError: A configuration is there but wrong, the ranks did not meet in time, the group has failed
            since, or it is not configured and either `strict` is on or the environment shows several ranks.

    Source: https://ml-explore.github.io/mlx/build/html/usage/distributed.html, "Selecting Backend".
    """
    return backends.init(os.environ, strict=strict, backend=backend)


def is_available(backend: str = "any") -> bool:
    """Return whether groups of this backend can be formed here; "any": of at least one. Forms none."""
    return backends.is_available(os.environ, backend)


def shutdown() -> None:
    """Leave all groups in an orderly way, as happens at exit, and forget them; a later `init` starts anew."""
    backends.shutdown()


def split(
    color: int | None, key: int = -1, *, group: Group | None = None, timeout: float | None = None
) -> Group | None:
    """Return the group of the ranks that gave the same `color`. Collective. See `Group.split`."""
    return (backends.chosen(group)).split(color, key, timeout=timeout)
