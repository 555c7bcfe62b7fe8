"""The CUDA devices that this process may use."""

from __future__ import annotations

import os
from collections.abc import Mapping

from jobkit.errors import LaunchError, complaint

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_devices(environ: Mapping[str, str], device_nodes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the devices by the names that CUDA_VISIBLE_DEVICES knows them by: numbers, GPU or MIG UUIDs.

    As CUDA reads it, the list ends at the first "-1" or empty entry.

    Args:
        environ: Where the variable may be; without it every device of the host is visible.
        device_nodes: The names in /dev.
    """
    given = environ.get(_VISIBLE)
    if given is None:
        return tuple(str(i) for i in range(sum(n[:6] == "nvidia" and n[6:].isdigit() for n in device_nodes)))
    devices: list[str] = []
    for name in given.split(","):
        if name.strip() in ("", "-1"):
            break
        devices.append(name.strip())
    return tuple(devices)


def device_nodes() -> tuple[str, ...]:
    """Return the names in /dev."""
    return tuple(os.listdir("/dev"))


def devices_of(local_rank: int, per_rank: int, devices: tuple[str, ...], *, share: bool) -> str:
    """Return one rank's part of the visible devices, as CUDA_VISIBLE_DEVICES takes it.

    Raises:
        LaunchError: There are not enough, and they may not be shared.
    """
    first = local_rank * per_rank
    if share and devices:
        return ",".join(devices[(first + i) % len(devices)] for i in range(per_rank))
    if first + per_rank > len(devices):
        wrong = (
            f"local rank {local_rank} needs {per_rank} CUDA device(s) of its own, {len(devices)} are visible"
        )
        hint = "start fewer ranks, or set share_gpus: true"
        raise LaunchError(complaint("gpus_per_rank", wrong, got=",".join(devices), hint=hint))
    return ",".join(devices[first : first + per_rank])
