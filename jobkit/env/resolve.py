"""Settle what one rank needs for the backends, once every rank has reported."""

from __future__ import annotations

from jobkit.env import backends
from jobkit.env.gang import Table
from jobkit.env.gpu import device_nodes, devices_of, visible_devices
from jobkit.env.settings import Settings
from jobkit.env.translate import WITH_STORE, Resolved

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping


def resolve(
    environ: Mapping[str, str],
    rank: int,
    chosen: Settings,
    wanted: tuple[str, ...],
    table: Table,
    launcher: str | None,
) -> Resolved:
    """Return the backends, and what a rank needs for them.

    Raises:
        LaunchError: A backend that was named cannot run here, or there are not enough devices.
    """
    matrix = _matrix(chosen, wanted, table)
    found = backends.resolve(wanted, table.reports, has_mesh=matrix is not None, launcher=launcher)
    names, of_mlx = _mpi(environ, launcher) if "mpi" in found else ((), False)
    return Resolved(
        backends=found,
        devices=_devices(environ, rank, chosen, found, table),
        rdma=matrix if "jaccl" in found or "jaccl-ring" in found else None,
        library=names,
        mlx_mpi=of_mlx,
        store=launcher not in WITH_STORE,
    )


def _matrix(chosen: Settings, wanted: tuple[str, ...], table: Table) -> str | None:
    if not chosen.jaccl_hostfile:
        return None
    from jobkit.env import rdma

    return rdma.matrix(chosen.jaccl_hostfile, table.reports, wanted)


def _mpi(environ: Mapping[str, str], launcher: str | None) -> tuple[tuple[tuple[str, str], ...], bool]:
    """Return the variables that name the library, and whether it is one that MLX takes."""
    from jobkit.env import libmpi
    from jobkit.env.mlx import mpi

    found = mpi.library(environ, launcher or "")
    return tuple(mpi.variables(found, environ).items()), found.vendor == libmpi.OPENMPI


def _devices(
    environ: Mapping[str, str], rank: int, chosen: Settings, resolved: tuple[str, ...], table: Table
) -> str:
    per_rank = max(chosen.gpus_per_rank, 1 if "nccl" in resolved else 0)
    if not per_rank:
        return ""
    of_node = [report for report in table.reports if report.node == table.reports[rank].node]
    index = [report.rank for report in of_node].index(table.reports[rank].rank)
    lists = tuple(report.devices for report in of_node)
    visible = visible_devices(environ, device_nodes())
    return devices_of(index, visible, lists, per_rank, share=chosen.share_gpus)
