"""A rank of MVAPICH2's mpirun_rsh or mpiexec."""

from __future__ import annotations

from jobkit.env.launchers.read import placed
from jobkit.env.placement import Facts, Found

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANK, _SIZE = "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"
_PORT = "PMI_PORT"  # where mpirun_rsh listens: "host:port"
_SOURCES = (
    ("rank", _RANK),
    ("size", _SIZE),
    ("local_rank", "MV2_COMM_WORLD_LOCAL_RANK"),
    ("local_size", "MV2_COMM_WORLD_LOCAL_SIZE"),
)


def detect(environ: Mapping[str, str], facts: Facts) -> Found | None:
    """Return what MVAPICH2 says; under srun it sets nothing, and Slurm's own variables hold.

    Source: the MVAPICH2 user guide, "Running on Clusters with NVIDIA GPU Accelerators".
    """
    if _RANK not in environ and _SIZE not in environ:
        return None
    placement = placed(environ, facts, _SOURCES)
    if not environ.get(_PORT):
        return Found(placement, sources=_SOURCES)
    return Found(placement, f"mvapich2-{environ[_PORT]}", sources=(*_SOURCES, ("job", _PORT)))
