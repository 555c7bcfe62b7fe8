from __future__ import annotations

from jobkit.env import names
from jobkit.env.scrub import scrub

LAUNCHERS = {
    "SLURM_PROCID": "0",
    "SLURMD_NODENAME": "n",
    "SBATCH_ACCOUNT": "a",
    "PMI_RANK": "0",
    "PMIX_RANK": "0",
    "OMPI_COMM_WORLD_RANK": "0",
    "PRTE_LAUNCHED": "1",
    "TORCHELASTIC_RUN_ID": "r",
    "GROUP_RANK": "0",
    **dict.fromkeys((*names.CONTRACT, *names.TORCH, *names.OWN), "stale"),
}
SETTINGS = {
    "PATH": "/bin",
    "SLURM_CONF": "/etc/slurm.conf",
    "JOBKIT_HOME": "/h",
    "JOBKIT_TIMEOUT_S": "5",
    "JOBKIT_SHM": "0",
    "MLX_METAL_FAST_SYNCH": "1",
    "MLX_RING_VERBOSE": "1",
    "NCCL_DEBUG": "INFO",
    "CUDA_VISIBLE_DEVICES": "0",
}


def test_what_launchers_set_is_gone_and_settings_stay() -> None:
    assert scrub({**LAUNCHERS, **SETTINGS}) == SETTINGS


def test_secrets_are_gone() -> None:
    assert scrub({"PATH": "/bin", "KEY": "k"}, secrets=("KEY",)) == {"PATH": "/bin"}
