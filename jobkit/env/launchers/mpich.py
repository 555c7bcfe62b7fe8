"""A rank of MPICH's mpiexec (Hydra), of Intel MPI's, which is Hydra too, or of mpiexec.gforker."""

from __future__ import annotations

from jobkit.env.launchers.read import checked, count, own_host, placed
from jobkit.env.placement import Facts, Found, NotARank, Placement

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANK, _SIZE = "PMI_RANK", "PMI_SIZE"
_LOCAL_RANK, _LOCAL_SIZE = "MPI_LOCALRANKID", "MPI_LOCALNRANKS"
_GFORKER = "MPI_UNIVERSE_SIZE"
# Who else speaks PMI to its ranks, and says more of them in variables of its own.
_OTHERS = ("SLURM_STEP_ID", "FLUX_TASK_RANK", "PALS_RANKID")
_STEP = ("SLURM_JOB_ID", "SLURM_STEP_ID")
_UUID = "I_MPI_HYDRA_UUID"  # Intel MPI's name for one mpiexec
_PARENTS = ("hydra_pmi_proxy", "pmi_proxy", "mpiexec.gforker")
_SOURCES = (("rank", _RANK), ("size", _SIZE), ("local_rank", _LOCAL_RANK), ("local_size", _LOCAL_SIZE))


def detect(environ: Mapping[str, str], facts: Facts) -> Found | NotARank | None:
    """Return what Hydra says; PMI_RANK alone is also set by `srun --mpi=pmi2`, Flux and PALS.

    Source: https://github.com/pmodels/mpich, src/pm/hydra (recorded with MPICH 4.0.2 and 5, Intel MPI 2021).
    """
    if _RANK not in environ and _SIZE not in environ:
        return None
    if _LOCAL_RANK in environ:
        placement = placed(environ, facts, _SOURCES)
        return Found(placement, _job(environ, facts, placement), sources=_SOURCES)
    if any(name in environ for name in _OTHERS):
        return None
    if _GFORKER in environ:
        return _forked(environ, facts)
    return NotARank(
        f"{_RANK}={environ.get(_RANK, '')} and {_SIZE}={environ.get(_SIZE, '')} without {_LOCAL_RANK}: "
        "their launcher does not say which ranks share a node; start them with mpiexec of MPICH"
    )


def _forked(environ: Mapping[str, str], facts: Facts) -> Found:
    """mpiexec.gforker starts all ranks on its own host."""
    rank, size = count(environ, _RANK), count(environ, _SIZE)
    sources = (("rank", _RANK), ("size", _SIZE), ("local_rank", _RANK), ("local_size", _SIZE))
    placement = Placement(rank, size, rank, size, 0, 1, own_host(size, rank, facts.host, alone=True))
    placement = checked(placement, sources)
    return Found(placement, _job(environ, facts, placement), sources=sources)


def _job(environ: Mapping[str, str], facts: Facts, placement: Placement) -> str:
    """Return the job's identity: Intel MPI's name, the process that started all ranks, else the Slurm step.

    MPICH has no name for a job; inside an allocation it starts its proxies by a step of their own.
    """
    if environ.get(_UUID):
        return f"mpich-{environ[_UUID]}"
    proxy = next((pid for pid, name in facts.ancestors or () if name in _PARENTS), None)
    if placement.nodes == 1 and proxy is not None:
        return f"mpich-{facts.host}-{proxy}"
    if all(name in environ for name in _STEP):
        return "mpich-slurm-" + ".".join(environ[name] for name in _STEP)
    return ""
