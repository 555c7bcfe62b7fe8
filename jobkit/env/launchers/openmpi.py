"""A rank of Open MPI's mpirun, 4 and 5; its runtime's own `prterun` says too little."""

from __future__ import annotations

from jobkit.env.launchers.read import agree, placed
from jobkit.env.placement import Facts, Found, NotARank

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANK, _SIZE = "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"
_PMIX_RANK = "PMIX_RANK"
_PRTE = "PRTE_LAUNCHED"
# The job's name where PMIx gives it ("prterun-vm-28101@1", "1736179713"), else that of Open MPI 4's runtime.
_JOBS = ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "OMPI_MCA_orte_ess_jobid")
_SLURM_PMIX = "slurm.pmix."  # the namespace under `srun --mpi=pmix`
_SOURCES = (
    ("rank", _RANK),
    ("size", _SIZE),
    ("local_rank", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("local_size", "OMPI_COMM_WORLD_LOCAL_SIZE"),
)


def detect(environ: Mapping[str, str], facts: Facts) -> Found | NotARank | None:
    """Return what mpirun says.

    OMPI_COMM_WORLD_NODE_RANK counts the ranks of all jobs of a node, and is no local rank.
    Source: https://docs.open-mpi.org/en/main/tuning-apps/environment-var.html.
    """
    if _RANK not in environ and _SIZE not in environ:
        return _only_pmix(environ)
    placement = placed(environ, facts, _SOURCES)
    job_source = next((name for name in _JOBS if _is_own(environ, name)), None)
    if job_source == "PMIX_NAMESPACE":
        agree(environ, _RANK, _PMIX_RANK)
    if job_source is None:
        return Found(placement, sources=_SOURCES)
    return Found(placement, f"openmpi-{environ[job_source]}", sources=(*_SOURCES, ("job", job_source)))


def _is_own(environ: Mapping[str, str], name: str) -> bool:
    """Say whether a name of a job is mpirun's, not that of an srun around it or inside it."""
    value = environ.get(name, "")
    return bool(value) and not value.startswith(_SLURM_PMIX)


def _only_pmix(environ: Mapping[str, str]) -> NotARank | None:
    """PMIx has a variable for the rank, and none for the size."""
    if _PRTE not in environ or _PMIX_RANK not in environ:
        return None
    return NotARank(
        f"prterun started this process as {_PMIX_RANK}={environ[_PMIX_RANK]} and says nothing of the "
        "number of ranks; start it with mpirun of Open MPI, or prterun --personality ompi",
        f"prte-{environ.get('PMIX_NAMESPACE', '')}",
    )
