"""What launchers that start every rank tell each of them.

The names are those that were recorded, or that the launchers' documents have: see jobkit/env/launchers.
"""

from __future__ import annotations

from collections.abc import Callable

from jobkit.env import names
from jobkit.pretend.place import Place

Variables = dict[str, str]


def slurm(place: Place) -> Variables:
    """Return what srun sets, `sbatch --nodes=N --ntasks-per-node=M` around it."""
    shape = place.shape
    hosts = ",".join([place.host] * shape.nodes)
    each = f"{shape.per_node}(x{shape.nodes})" if shape.nodes > 1 else str(shape.per_node)
    first = place.node * shape.per_node
    job = {
        "CLUSTER_NAME": "pretended",
        "JOB_ID": place.number,
        "JOBID": place.number,
        "JOB_NAME": "pretended",
        "JOB_USER": place.user,
        "JOB_PARTITION": "pretended",
        "JOB_NODELIST": hosts,
        "NODELIST": hosts,
        "JOB_NUM_NODES": shape.nodes,
        "NNODES": shape.nodes,
        "JOB_CPUS_PER_NODE": each,
        "CPUS_ON_NODE": shape.per_node,
        "NTASKS": shape.size,
        "NPROCS": shape.size,
        "NTASKS_PER_NODE": shape.per_node,
        "TASKS_PER_NODE": each,
        "SUBMIT_DIR": place.folder,
        "SUBMIT_HOST": place.host,
    }
    step = {
        "STEP_ID": 0,
        "STEPID": 0,
        "STEP_NODELIST": hosts,
        "STEP_NUM_NODES": shape.nodes,
        "STEP_NUM_TASKS": shape.size,
        "STEP_TASKS_PER_NODE": each,
        "DISTRIBUTION": "block" if shape.per_node > 1 or shape.nodes == 1 else "cyclic",
        "LAUNCH_NODE_IPADDR": "127.0.0.1",
        "SRUN_COMM_HOST": "127.0.0.1",
        "TOPOLOGY_ADDR": place.host,
        "TOPOLOGY_ADDR_PATTERN": "node",
    }
    task = {
        "PROCID": place.rank,
        "LOCALID": place.local_rank,
        "NODEID": place.node,
        "GTIDS": ",".join(map(str, range(first, first + shape.per_node))),
        "TASK_PID": place.pid,
    }
    found = {f"SLURM_{name}": str(value) for name, value in (job | step | task).items()}
    return {**found, "SLURMD_NODENAME": place.host}


def openmpi(place: Place) -> Variables:
    """Return what mpirun of Open MPI 5 sets, but for the addresses of its daemons."""
    shape = place.shape
    names_ = {
        "COMM_WORLD_RANK": place.rank,
        "COMM_WORLD_SIZE": shape.size,
        "COMM_WORLD_LOCAL_RANK": place.local_rank,
        "COMM_WORLD_LOCAL_SIZE": shape.per_node,
        "COMM_WORLD_NODE_RANK": place.local_rank,
        "UNIVERSE_SIZE": shape.size,
        "WORLD_SIZE": shape.size,
        "WORLD_LOCAL_SIZE": shape.per_node,
    }
    found = {f"OMPI_{name}": str(value) for name, value in names_.items()}
    job = {"PMIX_NAMESPACE": f"prterun-{place.host}-{place.number}@1", "PMIX_RANK": str(place.rank)}
    return {**found, **job, "PMIX_HOSTNAME": place.host, "PRTE_LAUNCHED": "1", **_met(place)}


def mpich(place: Place) -> Variables:
    """Return what Hydra sets, but for the descriptor of its proxy."""
    found = {
        "PMI_RANK": place.rank,
        "PMI_SIZE": place.shape.size,
        "MPI_LOCALRANKID": place.local_rank,
        "MPI_LOCALNRANKS": place.shape.per_node,
    }
    own = {"MPIR_CVAR_CH3_INTERFACE_HOSTNAME": place.host}
    return {**{name: str(value) for name, value in found.items()}, **own, **_met(place)}


def mvapich2(place: Place) -> Variables:
    """Return what mpirun_rsh sets, but for the port that it listens at."""
    found = {
        "RANK": place.rank,
        "SIZE": place.shape.size,
        "LOCAL_RANK": place.local_rank,
        "LOCAL_SIZE": place.shape.per_node,
    }
    return {**{f"MV2_COMM_WORLD_{name}": str(value) for name, value in found.items()}, **_met(place)}


def pals(place: Place) -> Variables:
    """Return what mpiexec of HPE Cray PALS sets, but for the descriptors of its daemons."""
    found = {
        "PALS_RANKID": place.rank,
        "PALS_LOCAL_RANKID": place.local_rank,
        "PALS_NODEID": place.node,
        "PALS_LOCAL_SIZE": place.shape.per_node,
        "PALS_APID": f"pretended-{place.number}",
        "PMI_RANK": place.rank,
        "PMI_SIZE": place.shape.size,
        "PMI_LOCAL_RANK": place.local_rank,
        "PMI_LOCAL_SIZE": place.shape.per_node,
    }
    return {**{name: str(value) for name, value in found.items()}, **_met(place)}


def flux(place: Place) -> Variables:
    """Return what `flux run` sets, but for the addresses of its broker."""
    found = {
        "TASK_RANK": place.rank,
        "TASK_LOCAL_ID": place.local_rank,
        "JOB_SIZE": place.shape.size,
        "JOB_NNODES": place.shape.nodes,
        "JOB_ID": f"f{place.number}",
        "JOB_ID_PATH": f"/f{place.number}",
    }
    return {**{f"FLUX_{name}": str(value) for name, value in found.items()}, **_met(place)}


def lsf(place: Place) -> Variables:
    """Return what jsrun sets in a job of LSF, but for the addresses of its daemons."""
    shape = place.shape
    found = {
        "JSM_NAMESPACE_RANK": place.rank,
        "JSM_NAMESPACE_SIZE": shape.size,
        "JSM_NAMESPACE_LOCAL_RANK": place.local_rank,
        "JSM_NAMESPACE_LOCAL_SIZE": shape.per_node,
        "LSB_JOBID": place.number,
        "LSB_JOBNAME": "pretended",
        "LSB_MCPU_HOSTS": " ".join([f"{place.host} {shape.per_node}"] * shape.nodes),
        "PMIX_NAMESPACE": place.number,
        "PMIX_RANK": place.rank,
    }
    return {**{name: str(value) for name, value in found.items()}, **_met(place)}


def torchrun(place: Place) -> Variables:
    """Return what an agent of torchrun sets; the store is rank 0's, since no agent has one."""
    shape = place.shape
    found = {
        "RANK": place.rank,
        "WORLD_SIZE": shape.size,
        "LOCAL_RANK": place.local_rank,
        "LOCAL_WORLD_SIZE": shape.per_node,
        "GROUP_RANK": place.node,
        "GROUP_WORLD_SIZE": shape.nodes,
        "ROLE_RANK": place.rank,
        "ROLE_WORLD_SIZE": shape.size,
        "ROLE_NAME": "default",
        "MASTER_ADDR": "localhost" if shape.nodes == 1 else place.host,
        "MASTER_PORT": place.port,
        "TORCHELASTIC_RUN_ID": f"pretended-{place.number}",
        "TORCHELASTIC_RESTART_COUNT": 0,
        "TORCHELASTIC_MAX_RESTARTS": 0,
        "TORCHELASTIC_USE_AGENT_STORE": False,
    }
    return {name: str(value) for name, value in found.items()}


def _met(place: Place) -> Variables:
    """Return what a user adds on several nodes, where a launcher does not say which has rank 0."""
    return {names.COORDINATOR: place.host} if place.shape.nodes > 1 else {}


# In the order of `jobkit launch --help`.
STEPS: dict[str, Callable[[Place], Variables]] = {
    "slurm": slurm,
    "openmpi": openmpi,
    "mpich": mpich,
    "mvapich2": mvapich2,
    "pals": pals,
    "flux": flux,
    "lsf": lsf,
    "torchrun": torchrun,
}
