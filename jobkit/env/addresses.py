"""The IPv4 addresses at which the other ranks reach this one."""

from __future__ import annotations

from jobkit.env.placement import Placement
from jobkit.errors import LaunchError, complaint

LOOPBACK = ("127.0.0.1",)


def addresses(placement: Placement) -> tuple[str, ...]:
    """Return loopback for a job of one host.

    Raises:
        LaunchError: The job has several hosts.
    """
    if placement.local_size == placement.size:
        return LOOPBACK
    wrong = "a job of several hosts cannot be started in this version"
    raise LaunchError(complaint(f"rank {placement.rank}", wrong, hint="start every rank on one host"))
