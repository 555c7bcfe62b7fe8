"""Every environment variable that the shim reads or sets, by its part in the contract."""

from __future__ import annotations

# What MLX's own backends read, under MLX's name and JACCL's own. Never inherited: a stale one makes a program
# join a group that is gone, or hang.
CONTRACT = (
    "MLX_RANK",
    "MLX_WORLD_SIZE",
    "MLX_HOSTFILE",
    "MLX_IBV_DEVICES",
    "MLX_JACCL_COORDINATOR",
    "MLX_JACCL_RING",
    "JACCL_RANK",
    "JACCL_IBV_DEVICES",
    "JACCL_COORDINATOR",
    "JACCL_RING",
    "NCCL_HOST_IP",
    "NCCL_PORT",
)

# What `torch.distributed.init_process_group()` reads with the `env://` method.
TORCH = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

# Where a rank is, for the program. Set by the shim for every backend, `none` too.
RANK = "JOBKIT_RANK"
SIZE = "JOBKIT_SIZE"
LOCAL_RANK = "JOBKIT_LOCAL_RANK"
LOCAL_SIZE = "JOBKIT_LOCAL_SIZE"
NODE = "JOBKIT_NODE"
NODES = "JOBKIT_NODES"
JOB = "JOBKIT_JOB"
ATTEMPT = "JOBKIT_ATTEMPT"
RUN_DIR = "JOBKIT_RUN_DIR"
PLACEMENT = (RANK, SIZE, LOCAL_RANK, LOCAL_SIZE, NODE, NODES)

# Set by the shim where a group is to be formed.
BACKEND = "JOBKIT_BACKEND"
GANG_FILE = "JOBKIT_GANG_FILE"
TOKEN_FILE = "JOBKIT_TOKEN_FILE"
VICTIM_FILE = "JOBKIT_VICTIM_FILE"

# From the agent to the shim; gone when the program starts.
AGENT_FD = "JOBKIT_AGENT_FD"
PORTS = "JOBKIT_PORTS"  # '20000-20999'
ADDRESSES = "JOBKIT_ADDRESSES"  # of this rank, '10.0.0.1,10.0.1.1'; "" to find them out
SUBNET = "JOBKIT_SUBNET"  # '10.0.0.0/8'
CONNECTIONS_PER_IP = "JOBKIT_CONNECTIONS_PER_IP"
NCCL_BOOTSTRAP_PORT = "JOBKIT_NCCL_PORT"
GPUS_PER_RANK = "JOBKIT_GPUS_PER_RANK"
SHARE_GPUS = "JOBKIT_SHARE_GPUS"
JACCL_HOSTFILE = "JOBKIT_JACCL_HOSTFILE"
SPEC_HASH = "JOBKIT_SPEC_HASH"
SHARED_DIR = "JOBKIT_SHARED_DIR"  # a run folder that all hosts see, "" without: their agents meet over TCP
OUTER = "JOBKIT_OUTER"
COORDINATOR = "JOBKIT_COORDINATOR"
KEEPER = "JOBKIT_KEEPER"  # marks the process that runs a submitted job
HANDED_DOWN = (
    AGENT_FD,
    PORTS,
    ADDRESSES,
    SUBNET,
    CONNECTIONS_PER_IP,
    NCCL_BOOTSTRAP_PORT,
    GPUS_PER_RANK,
    SHARE_GPUS,
    JACCL_HOSTFILE,
    SPEC_HASH,
    SHARED_DIR,
)

# Everything of jobkit's that says where one process of one job is; settings (JOBKIT_HOME, JOBKIT_TIMEOUT_S…)
# are not here.
OWN = (
    *PLACEMENT,
    JOB,
    ATTEMPT,
    RUN_DIR,
    BACKEND,
    GANG_FILE,
    TOKEN_FILE,
    VICTIM_FILE,
    *HANDED_DOWN,
    OUTER,
    COORDINATOR,
    KEEPER,
)
