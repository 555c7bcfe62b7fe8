"""JACCL's matrix of devices in rank order, from a hostfile in the order of its writer."""

from __future__ import annotations

import os

from jobkit.env.data import dataclass
from jobkit.env.json_ import dumps, loads
from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from jobkit.env.gang import Report

_ROW = '{"ssh": "a", "ips": ["10.0.0.1"], "rdma": [null, "rdma_en5"]}'
_SHOWN = 3  # pairs of hosts without a device that a message names


@dataclass(frozen=True)
class Host:
    """One host of the file.

    Attributes:
        name: As ssh knows it, without a user.
        ips: Its addresses.
        devices: What reaches each host of the file: null, a name, or names of parallel cables.
    """

    name: str
    ips: tuple[str, ...]
    devices: tuple[str | tuple[str, ...] | None, ...]


Matrix = tuple[tuple[str | tuple[str, ...] | None, ...], ...]


def matrix(path: str, reports: tuple[Report, ...], wanted: tuple[str, ...]) -> str | None:
    """Return the matrix for the ranks as MLX_IBV_DEVICES names it; None where it does not connect them.

    Args:
        path: The hostfile, in mlx.launch's form; "" without.
        reports: In rank order.
        wanted: Backends by name: for `any` a file of other hosts means no RDMA, for `jaccl` it is an error.

    Raises:
        LaunchError: The file is malformed; or `jaccl` or `jaccl-ring` is named and cannot run with it.
    """
    kinds = [name for name in wanted if name in ("any", "jaccl", "jaccl-ring")]
    if not path or not kinds:
        return None
    hosts = read(path)
    try:
        found = in_rank_order(path, hosts, reports)
        for kind in kinds:
            check(path, found, reports, ring=kind == "jaccl-ring")
    except LaunchError:
        if kinds == ["any"]:
            return None
        raise
    return dumps(found)


def read(path: str) -> tuple[Host, ...]:
    """Return the hosts of a file.

    Raises:
        LaunchError: It cannot be read here, or is no square matrix with an empty diagonal.
    """
    hint = "the file that jaccl.hostfile names must be readable on every host of the job"
    if os.path.exists(path) and not os.path.isfile(path):
        raise LaunchError(complaint(path, "is no file", hint=hint))
    try:
        with open(path, encoding="utf-8") as file:
            content = loads(file.read())
    except OSError as error:
        raise LaunchError(complaint(path, f"cannot be read ({error.strerror})", hint=hint)) from error
    except (ValueError, RecursionError) as error:
        raise LaunchError(complaint(path, f"not JSON ({error})", expected=f"[{_ROW}, …]")) from error
    rows = content.get("hosts") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows:
        raise LaunchError(complaint(path, "no list of hosts", expected=f"[{_ROW}, …]"))
    return tuple(_host(path, number, row, len(rows)) for number, row in enumerate(rows))


def _host(path: str, number: int, row: Any, size: int) -> Host:
    where = f"{path}: host {number}"
    name = row.get("ssh") if isinstance(row, dict) else None
    if not isinstance(name, str) or not name:
        raise LaunchError(complaint(where, "no host name", got=row, expected=_ROW))
    devices, ips = row.get("rdma"), row.get("ips", [])
    where = f"{where} ({name}): rdma"
    if not isinstance(devices, list) or not all(map(_is_device, devices)):
        expected = f"a list of {size} device names, null for the host itself"
        raise LaunchError(complaint(where, "no row of devices", got=devices, expected=expected))
    if len(devices) != size:
        hint = "give every host a device, or null, for every host of the file, itself too"
        wrong = "the matrix is not square"
        raise LaunchError(
            complaint(where, wrong, got=len(devices), expected=f"{size}, as there are hosts", hint=hint)
        )
    if devices[number]:
        wrong = f"entry {number} is for the host itself"
        raise LaunchError(complaint(where, wrong, got=devices[number], expected="null"))
    own = tuple(tuple(device) if isinstance(device, list) else device for device in devices)
    return Host(name.rpartition("@")[2], tuple(map(str, ips)) if isinstance(ips, list) else (), own)


def _is_device(entry: Any) -> bool:
    names = entry if isinstance(entry, list) else [entry]
    return entry is None or all(isinstance(name, str) and name for name in names)


def in_rank_order(path: str, hosts: tuple[Host, ...], reports: tuple[Report, ...]) -> Matrix:
    """Return the rows and columns of the ranks' hosts, in the order that the scheduler gave the ranks.

    Raises:
        LaunchError: A rank's host has no row, or several; or several ranks are on one host.
    """
    rows = [_row(path, hosts, report) for report in reports]
    for rank, row in enumerate(rows):
        if row in rows[:rank]:
            wrong = f"ranks {rows.index(row)} and {rank} are both on {hosts[row].name}"
            hint = "start one rank on each host: ranks_per_node: 1"
            raise LaunchError(complaint(f"backend jaccl: {path}", wrong, hint=hint))
    return tuple(tuple(hosts[row].devices[column] for column in rows) for row in rows)


def _row(path: str, hosts: tuple[Host, ...], report: Report) -> int:
    """Return the row of a rank's host: by its name, else an address, else its name without the domain."""
    for same in (_same_name, _same_address, _same_short_name):
        rows = [number for number, host in enumerate(hosts) if same(host, report)]
        if len(rows) > 1:
            wrong = f"hosts {rows[0]} and {rows[1]} are both {report.host}"
            raise LaunchError(complaint(path, wrong, hint="keep one row for each host"))
        if rows:
            return rows[0]
    known = ", ".join(host.name for host in hosts[:8])
    wrong = f"no row for {report.host}, where rank {report.rank} is; it has {len(hosts)} hosts: {known}"
    hint = "add that host's row and column, or start the job on the file's hosts"
    raise LaunchError(complaint(path, wrong, hint=hint))


def _same_name(host: Host, report: Report) -> bool:
    return host.name.lower() == report.host.lower()


def _same_address(host: Host, report: Report) -> bool:
    return bool({host.name, *host.ips} & {*report.addresses})


def _same_short_name(host: Host, report: Report) -> bool:
    return host.name.lower().partition(".")[0] == report.host.lower().partition(".")[0]


def check(path: str, found: Matrix, reports: tuple[Report, ...], *, ring: bool) -> None:
    """Refuse a matrix with which JACCL would make as many groups of one as there are ranks, silently.

    Args:
        path: The hostfile.
        found: In rank order.
        reports: In rank order.
        ring: Whether only neighbours need devices, else everyone.

    Raises:
        LaunchError: Two ranks that must reach each other have no device, or a ring's neighbours different
            numbers of them.
    """
    size = len(found)
    apart = (1, size - 1) if ring else range(1, size)
    pairs = [(i, j) for i in range(size) for j in range(size) if (j - i) % size in apart]
    where = f"{path}: backend {'jaccl-ring' if ring else 'jaccl'}"
    missing = [f"{reports[i].host} to {reports[j].host}" for i, j in pairs if not found[i][j]]
    if missing:
        more = ", …" if len(missing) > _SHOWN else ""
        wrong = f"no device from {', '.join(missing[:_SHOWN])}{more}"
        ordered = "start the ranks in the order in which the hosts are cabled" if ring else ""
        raise LaunchError(complaint(where, wrong, hint=ordered or "add the devices, or use --backend ring"))
    cables = {_cables(found[i][j]) for i, j in pairs}
    if ring and len(cables) > 1:
        got, expected = ", ".join(map(str, sorted(cables))), "the same for all neighbours"
        raise LaunchError(complaint(where, "different numbers of devices", got=got, expected=expected))


def _cables(device: str | tuple[str, ...] | None) -> int:
    return len(device) if isinstance(device, tuple) else 1
