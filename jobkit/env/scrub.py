"""What a job does not inherit from the environment it is submitted from."""

from __future__ import annotations

from jobkit.env import names

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# What launchers tell their ranks: true of the process that submits, false for the job.
_PREFIXES = (
    "SLURM_",
    "SBATCH_",
    "SALLOC_",
    "SRUN_",
    "PMI",
    "OMPI_",
    "PRTE_",
    "HYDRA_",
    "HYDI_",
    "MPI_LOCAL",
    "MPIR_",
    "MV2_COMM_WORLD_",
    "PALS_",
    "FLUX_TASK_",
    "FLUX_JOB_",
    "JSM_NAMESPACE_",
    "TORCHELASTIC_",
)
_NAMES = ("SLURMD_NODENAME", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME")
_SETTINGS = ("SLURM_CONF",)


def scrub(environ: Mapping[str, str], secrets: Collection[str] = ()) -> dict[str, str]:
    """Return an environment without what a launcher set, and without the names under `secrets`.

    Settings stay: SLURM_CONF, JOBKIT_HOME, JOBKIT_TIMEOUT_S, MLX_METAL_*, MLX_RING_VERBOSE, NCCL_DEBUG and
    the like.
    """
    gone = {*names.CONTRACT, *names.TORCH, *names.OWN, *_NAMES, *secrets}
    return {
        name: value
        for name, value in environ.items()
        if name in _SETTINGS or (name not in gone and not name.startswith(_PREFIXES))
    }
