"""Where one process of a job is among all of them."""

from __future__ import annotations

from jobkit.env.data import dataclass


@dataclass(frozen=True)
class Placement:
    """The place of one rank.

    Attributes:
        rank: This process among all, 0 <= rank < size.
        size: Processes of the job.
        local_rank: This process among those of its node.
        local_size: Processes of the job on this node.
        node: This node among the job's, 0 <= node < nodes.
        nodes: Nodes of the job.
        hosts: A name per rank in rank order; None where the environment cannot tell.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    node: int
    nodes: int
    hosts: tuple[str | None, ...]


@dataclass(frozen=True)
class NotARank:
    """A launcher's environment where it started no rank (a batch step, an interactive shell).

    Attributes:
        reason: What was found, and the remedy.
    """

    reason: str


@dataclass(frozen=True)
class Facts:
    """What detection may know of this process beside its environment; absent (None) for a recorded one.

    Attributes:
        host: This host's name.
        hostfile_hosts: A host per rank, from the file that MLX_HOSTFILE names.
    """

    host: str | None = None
    hostfile_hosts: tuple[str, ...] | None = None
