"""A rank of PALS, the launcher of HPE Cray machines (their mpiexec and aprun)."""

from __future__ import annotations

from jobkit.env.launchers.read import agree, checked, count, optional, own_host
from jobkit.env.placement import Facts, Found, Placement

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANK, _LOCAL_RANK, _NODE, _JOB = "PALS_RANKID", "PALS_LOCAL_RANKID", "PALS_NODEID", "PALS_APID"
_PMI_RANK, _SIZE = "PMI_RANK", "PMI_SIZE"
_LOCAL_SIZES = ("PALS_LOCAL_SIZE", "PMI_LOCAL_SIZE")
# Slurm (srun --mpi=cray_shasta) and Flux set the same for Cray's MPI, and say more in variables of their own.
_OTHERS = ("SLURM_PROCID", "FLUX_TASK_RANK")


def detect(environ: Mapping[str, str], facts: Facts) -> Found | None:
    """Return what PALS says: its own variables for the rank, PMI's for the sizes.

    Source: mpiexec(1) of HPE Cray PALS, "ENVIRONMENT VARIABLES", and Slurm's plugin, which sets the same:
    https://github.com/SchedMD/slurm/tree/master/src/plugins/mpi/cray_shasta.
    """
    if _RANK not in environ or any(environ.get(name) == environ[_RANK] for name in _OTHERS):
        return None
    agree(environ, _RANK, _PMI_RANK)
    rank, size, local_rank = (count(environ, name) for name in (_RANK, _SIZE, _LOCAL_RANK))
    local_source = next((name for name in _LOCAL_SIZES if name in environ), _LOCAL_SIZES[0])
    local_size = optional(environ, local_source)
    nodes = 1 if local_size == size else None
    node = optional(environ, _NODE)
    hosts = own_host(size, rank, facts.host, alone=nodes == 1)
    sources = (
        ("rank", _RANK),
        ("size", _SIZE),
        ("local_rank", _LOCAL_RANK),
        ("local_size", local_source),
        ("node", _NODE),
        ("job", _JOB),
    )
    placement = checked(Placement(rank, size, local_rank, local_size, node, nodes, hosts), sources)
    return Found(placement, f"pals-{environ[_JOB]}" if environ.get(_JOB) else "", sources=sources)
