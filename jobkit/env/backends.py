"""Resolve `any` and refuse what cannot run here, once every rank's report is known."""

from __future__ import annotations

from jobkit.env.gpu import deal
from jobkit.errors import LaunchError, SpecError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from jobkit.env.gang import Report

NAMES = ("any", "ring", "jaccl", "jaccl-ring", "mpi", "nccl", "none")
MPI_LAUNCHERS = ("openmpi", "mpich", "mvapich2", "pals", "slurm", "flux", "lsf")


def parse(text: str, where: str = "--backend") -> tuple[str, ...]:
    """Return the backends named, separated by commas; `where` is the flag or the place in a file.

    Raises:
        SpecError: A name that is none of NAMES.
    """
    wanted = tuple(text.split(","))
    for name in wanted:
        if name not in NAMES:
            raise SpecError(complaint(where, "unknown name", got=name, expected=f"one of {', '.join(NAMES)}"))
    return wanted


def resolve(
    wanted: tuple[str, ...],
    reports: tuple[Report, ...],
    *,
    has_mesh: bool = False,
    launcher: str | None = None,
) -> tuple[str, ...]:
    """Return the backends whose variables are set, `any` replaced by what every rank can use.

    Args:
        wanted: Names of NAMES, one or several.
        reports: In rank order.
        has_mesh: Whether a matrix of RDMA devices connects the ranks.
        launcher: Who started them.

    Raises:
        LaunchError: A backend that was named cannot run on these hosts.
    """
    chosen = tuple(dict.fromkeys(_any(reports, has_mesh) if name == "any" else name for name in wanted))
    for name in chosen:
        _check(name, reports, has_mesh, launcher)
    return chosen


def _any(reports: tuple[Report, ...], has_mesh: bool) -> str:
    if all(report.devices for report in reports) and _one_device_each(reports):
        return "nccl"
    return "jaccl" if has_mesh else "ring"


def _one_device_each(reports: tuple[Report, ...]) -> bool:
    nodes: dict[str, list[tuple[str, ...]]] = {}
    for report in reports:
        nodes.setdefault(report.node, []).append(report.devices)
    return all(deal(tuple(lists), 1, share=False) is not None for lists in nodes.values())


def _check(name: str, reports: tuple[Report, ...], has_mesh: bool, launcher: str | None) -> None:
    if name == "nccl":
        _check_devices(reports)
    if name in ("jaccl", "jaccl-ring") and not has_mesh:
        hint = (
            "use --backend ring, or name a hostfile with rdma devices: jaccl.hostfile, JOBKIT_JACCL_HOSTFILE"
        )
        raise LaunchError(
            complaint(f"backend {name}", "no RDMA devices are known for these hosts", hint=hint)
        )
    if name == "mpi" and launcher not in MPI_LAUNCHERS:
        wrong = f"ranks of MPI are started by MPI's launcher, not by {launcher or 'nobody'}"
        hint = "mpirun -n N jobkit exec --backend mpi -- CMD, or use --backend ring"
        raise LaunchError(complaint("backend mpi", wrong, hint=hint))


def _check_devices(reports: tuple[Report, ...]) -> None:
    for report in reports:
        if not report.devices:
            where = f"backend nccl: rank {report.rank} on {report.host}"
            raise LaunchError(complaint(where, "no CUDA device is visible", hint="use --backend ring"))
