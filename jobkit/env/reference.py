"""What every variable of the contract means: the text of docs/env.md."""

from __future__ import annotations

from jobkit.env import home, names
from jobkit.env.mlx import jaccl, mpi, nccl, ring
from jobkit.env.tcp import link, tokens
from jobkit.env.translate import MLX_RANK, MLX_WORLD_SIZE, VISIBLE

_HEAD = """\
# The environment of a rank

What `jobkit exec` (`python -m jobkit.env`) sets for the program that it starts, under `jobkit launch` and
`jobkit submit` alike. `jobkit env --explain` shows it with the source of each value.

A job of one rank finds none of MLX's variables: every group is then of size one, and programs need no check.
"""

_SECTIONS: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "Where a rank is",
        {
            names.RANK: "This rank among all of the job, from 0.",
            names.SIZE: "Ranks of the job.",
            names.LOCAL_RANK: "This rank among those of its node, from 0.",
            names.LOCAL_SIZE: "Ranks of the job on this node.",
            names.NODE: "This node among the job's, from 0.",
            names.NODES: "Nodes of the job.",
            names.JOB: "The job's id; `ID/POINT` for a point of a sweep.",
            names.ATTEMPT: "Which attempt of the job this is, from 1.",
            names.RUN_DIR: "The run folder. Absent when a program is started by hand.",
            names.OUTER: "The launchers that were visible when the rank was placed: one that is found later "
            "without a word here was started inside the rank, and counts instead of it.",
        },
    ),
    (
        "What the bundled backends read (several ranks, any backend but `none`)",
        {
            names.BACKEND: "What `any` was resolved to; several names are separated by commas.",
            names.GANG_FILE: "JSON: every rank's host, node identity, addresses and reserved port.",
            names.TOKEN_FILE: "The secret of this attempt, hexadecimal, mode 0600.",
            names.VICTIM_FILE: 'Where a rank may write `{"victim_of": R}` before it fails because of rank R: '
            "then rank R's failure gives the job's exit status.",
        },
    ),
    (
        "What MLX reads (several ranks)",
        {
            MLX_RANK: "This rank.",
            MLX_WORLD_SIZE: "Ranks of the job.",
            ring.HOSTFILE: 'ring: path of `[["ip:port", …], …]` in rank order. Also set where the installed '
            "MLX has no part for the backend chosen and would make groups of one: for nccl in a build "
            "without CUDA, for jaccl on Linux, for an MPI other than Open MPI.",
            nccl.HOST_IP: "nccl: address of rank 0.",
            nccl.PORT: "nccl: port of rank 0.",
            VISIBLE: "This rank's part of the devices that were visible, by the names that they had: "
            "one with nccl, else `gpus_per_rank`; as found where that is 0. ROCm's variables stay as found.",
            jaccl.IBV_DEVICES: "jaccl: path of the matrix of devices in the order of the ranks.",
            jaccl.COORDINATOR: "jaccl: address and port of rank 0.",
            jaccl.RING: "jaccl-ring: `1`.",
            ", ".join(
                mpi.NAMES
            ): "mpi: the library that the launcher's ranks meet with, where unset: MLX, its "
            "documentation and mpi4py each have a name for it.",
        },
    ),
    (
        "What PyTorch reads (any backend but `none`; as found under torchrun, and where set by hand)",
        {
            "RANK": "This rank.",
            "WORLD_SIZE": "Ranks of the job.",
            "LOCAL_RANK": "This rank among those of its node.",
            "LOCAL_WORLD_SIZE": "Ranks of the job on this node.",
            "MASTER_ADDR": "Address of rank 0.",
            "MASTER_PORT": "Port reserved for rank 0's store.",
        },
    ),
    (
        "To the shim, by the agent or, all but the first, an sbatch script (gone when the program starts)",
        {
            names.AGENT_FD: "Descriptor of the connection to the agent of this host.",
            names.PORTS: "`FIRST-LAST`: the ports that may be reserved.",
            names.ADDRESSES: "The rank's addresses, by the hostfile of jobkit launch.",
            names.SUBNET: "The network whose addresses other hosts are given.",
            names.CONNECTIONS_PER_IP: "Connections of MLX's ring per address.",
            names.NCCL_BOOTSTRAP_PORT: "The port for NCCL's bootstrap.",
            names.GPUS_PER_RANK: "CUDA devices per rank.",
            names.SHARE_GPUS: "`1`: ranks may share a device.",
            names.JACCL_HOSTFILE: "Path, on every host, of a hostfile with JACCL's matrix: rows are found by "
            "host name or address, whatever the order of the ranks.",
            names.SPEC_HASH: "Hash of the spec; ranks with different ones do not start.",
            names.SHARED_DIR: "A run folder that all nodes see, empty without: for `--ranks-per-node`, whose "
            "ranks of several nodes meet over TCP.",
        },
    ),
    (
        "How ranks of a foreign launcher meet (set where the shim starts, the same for all ranks)",
        {
            names.COORDINATOR: "`HOST` or `HOST:PORT` of rank 0, where the launcher does not tell. The port "
            "must be free there.",
            link.TIMEOUT: f"Seconds until missing ranks are an error that names them ({link.TIMEOUT_S:g}).",
            tokens.INSECURE: "`1`: meet without a secret, where every user of the network is trusted.",
            tokens.MUNGE_SOCKET: "Where munged listens, if not at its usual place.",
            home.HOME: "Where jobs are kept, and this user's secret where neither run folder nor MUNGE is.",
        },
    ),
    (
        "What ranks of the agent find beside",
        {
            "PYTHONUNBUFFERED": "`1` unless set, so that output is seen as it is written.",
            "COLUMNS, LINES, FORCE_COLOR": "Where the launcher's output is a terminal, unless set.",
            "PATH": "The folder of the job's interpreter comes first.",
        },
    ),
)

_TAIL = """\
## In a batch script

Under a foreign launcher the settings of a spec are variables:

```bash
#SBATCH --nodes=2 --ntasks-per-node=4 --gpus-per-node=4
export JOBKIT_SUBNET=10.0.0.0/8 JOBKIT_PORTS=20000-20999 JOBKIT_CONNECTIONS_PER_IP=2
srun jobkit exec -- python train.py
```

## GPUs

Each rank gets devices of its own from those that its launcher lets it see, in the order of the list and
by the names in it: numbers, `GPU-` or `MIG-` UUIDs. Where all ranks of a node see the same list it is
dealt out in the order of the ranks; a rank that sees one device alone keeps it; lists that overlap are
dealt so that every rank gets one, if that can be. More ranks than devices are an error, unless they may
share. Ask Slurm for `--gpus-per-node` rather than `--gpus-per-task`: devices that are hidden from the
other ranks by a cgroup cannot be reached by them directly either, which makes NCCL slower.

## MPI

`mpirun -n 4 jobkit exec --backend mpi -- python train.py`: the ranks are the launcher's, and each of them
must load a library that this launcher speaks to, since with any other it would be rank 0 of 1 and say
nothing. `jobkit exec` looks for libraries where the program would, tells Open MPI from MPICH (and Intel
MPI, MVAPICH, Cray MPICH, which are MPICH inside) by the symbols in the file, and names the first that
fits. Without one it ends with 125 before the program starts, and says which launcher and which libraries
do not fit.

| launcher | library |
|---|---|
| Open MPI's `mpirun` | Open MPI |
| Hydra, Intel MPI, MVAPICH, PALS | MPICH |
| `srun --mpi=pmix`, `jsrun` | Open MPI; MPICH where it was built with PMIx |
| `srun --mpi=pmi2` | MPICH; Open MPI 4 where it has a plugin for it |
| `srun --mpi=none` | none |

MLX's own mpi backend takes Open MPI only. With another library the ring's variables are set beside, so
that `mx.distributed.init()` makes one group of all ranks.

## Ports

Every port above is reserved on its host before the program starts: by a socket that is bound without any
option, so that no other bind gets it, and that then gets the one option with which the program's own
listener binds beside it (`SO_REUSEPORT` for MLX's ring, JACCL and the bundled backends, `SO_REUSEADDR` for
torch and NCCL). It never listens and stays open in the program. Two jobs therefore never share a port, not
even two that start at once.
"""


def markdown() -> str:
    """Return docs/env.md."""
    parts = [_HEAD]
    for title, variables in _SECTIONS:
        rows = [f"| `{name}` | {meaning} |" for name, meaning in variables.items()]
        parts.append("\n".join([f"## {title}\n", "| variable | meaning |", "|---|---|", *rows, ""]))
    return "\n".join([*parts, _TAIL])


if __name__ == "__main__":
    print(markdown(), end="")
