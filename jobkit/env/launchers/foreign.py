"""A rank of a launcher whose ranks this version cannot bring together."""

from __future__ import annotations

from collections.abc import Mapping

from jobkit.env.placement import Facts, NotARank

# What tells the number of ranks, in a process that is one of them.
_SIZES = (
    ("srun", "SLURM_STEP_NUM_TASKS"),
    ("mpirun of Open MPI", "OMPI_COMM_WORLD_SIZE"),
    ("mpiexec of MPICH", "PMI_SIZE"),
    ("mpirun of MVAPICH2", "MV2_COMM_WORLD_SIZE"),
    ("flux run", "FLUX_JOB_SIZE"),
    ("jsrun", "JSM_NAMESPACE_SIZE"),
)


def detect(environ: Mapping[str, str], facts: Facts) -> NotARank | None:  # noqa: ARG001
    """Say that this process is one of several that could not meet: each would be rank 0 of 1 for itself."""
    for launcher, name in _SIZES:
        if environ.get(name, "1") != "1":
            return NotARank(
                f"{name}={environ[name]}: started by {launcher}, whose ranks this version does not bring "
                "together; start them with jobkit launch, or set MLX_RANK and MLX_HOSTFILE"
            )
    return None
