"""What would fail, by what hosts have said."""

from __future__ import annotations

from collections.abc import Iterator

from jobkit.hosts.checking import Answer, Asked, Report
from jobkit.hosts.choice import JACCL, JACCL_RING, RING

_SKEW_S = 1.0  # the clocks of the hosts tell which of two failures was the first

Pair = tuple[int, int]


def find(report: Report, asked: tuple[Asked, ...], needed: frozenset[Pair], version: str) -> tuple[str, ...]:
    """Return what would fail.

    Args:
        report: Of hosts.
        asked: Of the same hosts.
        needed: Which have to reach which.
        version: Of jobkit here.
    """
    alive = [answer for answer in report.answers if not answer.error]
    return (
        *(answer.error for answer in report.answers if answer.error),
        *_versions(alive, version),
        *(finding for answer in alive for finding in _own(answer)),
        *_unreached(report, asked, needed),
    )


def needed(backend: str, size: int) -> frozenset[Pair]:
    """Return which rank has to reach which other at its addresses.

    Args:
        backend: The hostfile's; "" for any.
        size: Ranks.
    """
    if backend == RING:
        return frozenset(((rank - 1) % size, rank) for rank in range(size) if size > 1)
    if backend in (JACCL, JACCL_RING):
        return frozenset((rank, 0) for rank in range(1, size))
    return frozenset((near, far) for near in range(size) for far in range(size) if near != far)


def _versions(alive: list[Answer], version: str) -> Iterator[str]:
    for answer in alive:
        if answer.jobkit is None:
            remedy = f"{answer.program} -m pip install jobkit=={version}"
            yield f"{answer.name}: {answer.program} has no jobkit: {remedy}"
        elif answer.jobkit != version:
            yield f"{answer.name}: jobkit {answer.jobkit}, and {version} here: they have to be the same"
    found = {answer.mlx or "none" for answer in alive}
    if len(found) > 1:
        words = ", ".join(f"{answer.mlx or 'none'} on {answer.name}" for answer in alive)
        yield f"different versions of mlx: {words}"


def _own(answer: Answer) -> Iterator[str]:
    for address, port in answer.listens.items():
        if isinstance(port, str):
            yield f"{answer.name}: {address} {port}"
    if answer.taken:
        ports = ", ".join(map(str, answer.taken))
        yield f"{answer.name}: in use are ports that mlx.launch would take: {ports} (--starting-port)"
    for device, wrong in answer.devices.items():
        yield f"{answer.name}: RDMA device {device} {wrong}"
    if answer.bridge:
        remedy = f"sudo ifconfig {answer.bridge} down"
        yield f"{answer.name}: {answer.bridge} is up, which keeps cables from RDMA: {remedy}"
    if abs(answer.skew_s) - answer.skew_error_s > _SKEW_S:
        side = "ahead of" if answer.skew_s > 0 else "behind"
        yield f"{answer.name}: its clock is {abs(answer.skew_s):.1f} s {side} this machine's"


def _unreached(report: Report, asked: tuple[Asked, ...], needed: frozenset[Pair]) -> Iterator[str]:
    for near, far in sorted(needed):
        one, other = report.answers[near], report.answers[far]
        if one.error or other.error:
            continue
        if not asked[far].addresses:
            yield f"{other.name}: the hostfile has no address of it, and {one.name} has to reach it"
        for address, cell in report.ways[near][far].items():
            if isinstance(cell, str):
                yield f"{one.name} does not reach {other.name} at {address}: {cell}"
