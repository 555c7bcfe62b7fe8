"""Where one process of a job is among all of them."""

from __future__ import annotations

from jobkit.env.data import dataclass


@dataclass(frozen=True)
class Placement:
    """The place of one rank.

    Attributes:
        rank: This process among all, 0 <= rank < size.
        size: Processes of the job.
        local_rank: This process among those of its node; None where only the gang can tell.
        local_size: Processes of the job on this node; None where only the gang can tell.
        node: This node among the job's, 0 <= node < nodes; None where only the gang can tell.
        nodes: Nodes of the job; None where only the gang can tell.
        hosts: A name per rank in rank order; None where the environment cannot tell.
    """

    rank: int
    size: int
    local_rank: int | None
    local_size: int | None
    node: int | None
    nodes: int | None
    hosts: tuple[str | None, ...]


@dataclass(frozen=True)
class Found:
    """What the variables of one launcher say of this process.

    Attributes:
        placement: Its place.
        job: The same for all processes of the job, another for every job that may run at the same time:
            "slurm-44.0"; "" where the environment has no such thing.
        attempt: How often the launcher has started the job, from 1.
        first_host: Name or address of the host of node 0; None where the environment cannot tell.
        sources: The variable that each field of the placement comes from: (("rank", "SLURM_PROCID"), …).
    """

    placement: Placement
    job: str = ""
    attempt: int = 1
    first_host: str | None = None
    sources: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class NotARank:
    """A launcher's environment where it started no rank (a batch step, an interactive shell).

    Attributes:
        reason: What was found, and the remedy.
        job: The allocation: "slurm-44"; "" where the environment has no such thing.
    """

    reason: str
    job: str = ""


@dataclass(frozen=True)
class Facts:
    """What detection may know of this process beside its environment; absent (None) for a recorded one.

    Attributes:
        host: This host's name.
        hostfile_hosts: A host per rank, from the file that MLX_HOSTFILE names.
        ancestors: This process and those above it, nearest first: process id and name. A shell that was
            given its commands is "bash -c", one that reads them from its input "bash"; Slurm's daemon is
            named with its step: ((815, "python3"), (812, "slurmstepd: [44.0]"), …).
        contained: Whether this process has a process namespace of its own (a container), from which a
            launcher's processes may not be seen.
        cgroup: The text of /proc/self/cgroup.
        terminal: Whether standard input is a terminal.
        files: The text of each file that a launcher's variable names: (("PBS_NODEFILE", "n1\\nn1\\n"), …).
    """

    host: str | None = None
    hostfile_hosts: tuple[str, ...] | None = None
    ancestors: tuple[tuple[int, str], ...] | None = None
    contained: bool | None = None
    cgroup: str | None = None
    terminal: bool | None = None
    files: tuple[tuple[str, str], ...] = ()
