"""The CUDA devices that a process may use, and each rank's part of those of its node."""

from __future__ import annotations

import os

from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_SLURM_STEP_GPUS = "SLURM_STEP_GPUS"

Devices = tuple[str, ...]


def visible_devices(environ: Mapping[str, str], device_nodes: tuple[str, ...]) -> Devices:
    """Return the devices by the names that CUDA_VISIBLE_DEVICES knows them by: numbers, GPU or MIG UUIDs.

    As CUDA reads it, the list ends at the first entry that names no device: "-1", "", "NoDevFiles".

    Args:
        environ: Where the variable may be; without it every device of the host is visible.
        device_nodes: The names in /dev.
    """
    given = environ.get(_VISIBLE)
    if given is None:
        return tuple(str(i) for i in range(sum(n[:6] == "nvidia" and n[6:].isdigit() for n in device_nodes)))
    devices: list[str] = []
    for name in map(str.strip, given.split(",")):
        if not (name.isdigit() or name.startswith(("GPU-", "MIG-"))):
            break
        devices.append(name)
    return tuple(devices)


def device_nodes() -> tuple[str, ...]:
    """Return the names in /dev."""
    return tuple(os.listdir("/dev"))


def identities(environ: Mapping[str, str], visible: Devices) -> Devices:
    """Return a name for each visible device that differs from the other devices' of the node.

    Where Slurm confines each task to its devices by cgroup, every task calls its own "0"; the numbers on the
    node are in SLURM_STEP_GPUS, in the same order. They tell devices apart, but CUDA does not know them.
    """
    on_node = environ.get(_SLURM_STEP_GPUS, "")
    numbers = on_node.split(",")
    if not on_node or len(numbers) != len(visible):
        return visible
    return tuple(f"{name}@{number}" for name, number in zip(visible, numbers, strict=True))


def deal(lists: tuple[Devices, ...], per_rank: int, *, share: bool) -> tuple[tuple[int, ...], ...] | None:
    """Return for each rank of a node which of the devices that it sees are its own, as indices of its list.

    Launchers give every rank the same list, a list of its own, or lists that overlap (a socket's devices to
    each rank of that socket). In each case a rank gets the first of its list that are free; one that finds
    none makes an earlier rank move on, by augmenting paths (H. W. Kuhn, "The Hungarian method for the
    assignment problem", 1955).

    Args:
        lists: What each rank of the node sees, in rank order, by `identities`.
        per_rank: Devices for each.
        share: Whether ranks may share a device, where there are not enough.

    Returns:
        None where there are not enough, and they may not be shared.
    """
    owner: dict[str, int] = {}
    if all(_take(rank, lists, owner, set()) for rank in range(len(lists)) for _ in range(per_rank)):
        own: list[list[int]] = [[] for _ in lists]
        for name, rank in owner.items():
            own[rank].append(lists[rank].index(name))
        return tuple(tuple(sorted(mine)) for mine in own)
    if share and all(lists):
        return tuple(_shared(rank, lists, per_rank) for rank in range(len(lists)))
    return None


def _take(rank: int, lists: tuple[Devices, ...], owner: dict[str, int], asked: set[str]) -> bool:
    """Give a rank one more device, if need be one whose owner can take another instead."""
    free = [name for name in lists[rank] if name not in owner]
    for name in free or lists[rank]:
        if name in asked or owner.get(name) == rank:
            continue
        asked.add(name)
        if name not in owner or _take(owner[name], lists, owner, asked):
            owner[name] = rank
            return True
    return False


def _shared(rank: int, lists: tuple[Devices, ...], per_rank: int) -> tuple[int, ...]:
    """Deal in turn among the ranks that see the same."""
    before = sum(other == lists[rank] for other in lists[:rank])
    return tuple((before * per_rank + i) % len(lists[rank]) for i in range(per_rank))


def devices_of(
    index: int, visible: Devices, lists: tuple[Devices, ...], per_rank: int, *, share: bool
) -> str:
    """Return one rank's devices, as CUDA_VISIBLE_DEVICES takes them.

    Args:
        index: The rank's place among those of its node.
        visible: What it sees, by CUDA's names.
        lists: What each rank of the node sees, in rank order, by `identities`.
        per_rank: Devices for each.
        share: Whether ranks may share a device.

    Raises:
        LaunchError: There are not enough, and they may not be shared; or CUDA would not show them all.
    """
    if per_rank > 1 and any(name.startswith("MIG-") for name in visible):
        wrong = "CUDA shows a process one MIG device and no more"
        raise LaunchError(complaint("gpus_per_rank", wrong, got=per_rank, expected="1"))
    own = deal(lists, per_rank, share=share)
    if own is None:
        seen = len({name for names in lists for name in names})
        wrong = f"{len(lists)} rank(s) on this node need {per_rank} CUDA device(s) each, {seen} are visible"
        fewer = "start fewer ranks, or let them share: share_gpus: true, or JOBKIT_SHARE_GPUS=1"
        hint = fewer if seen else "ask the scheduler for GPUs, or use --backend ring without gpus_per_rank"
        raise LaunchError(complaint("gpus_per_rank", wrong, got=",".join(visible), hint=hint))
    return ",".join(visible[i] for i in own[index])
