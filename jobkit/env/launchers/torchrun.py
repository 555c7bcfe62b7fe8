"""A worker of torchrun (torch.distributed.run, accelerate launch)."""

from __future__ import annotations

from jobkit.env.launchers.read import checked, count, optional, own_host
from jobkit.env.placement import Facts, Found, Placement

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_RUN_ID, _RESTARTS = "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"
_ADDRESS, _PORT = "MASTER_ADDR", "MASTER_PORT"
_AGENTS = ("torchrun", "pt_elastic")
_SOURCES = (
    ("rank", "RANK"),
    ("size", "WORLD_SIZE"),
    ("local_rank", "LOCAL_RANK"),
    ("local_size", "LOCAL_WORLD_SIZE"),
    ("node", "GROUP_RANK"),
    ("nodes", "GROUP_WORLD_SIZE"),
)


def detect(environ: Mapping[str, str], facts: Facts) -> Found | None:
    """Return what torchrun's agent says; its run id tells it from variables set by hand.

    Source: https://docs.pytorch.org/docs/stable/elastic/run.html, "Environment Variables".
    """
    if _RUN_ID not in environ or "RANK" not in environ:
        return None
    rank, size, local_rank, local_size, node, nodes = (count(environ, name) for _, name in _SOURCES)
    hosts = own_host(size, rank, facts.host, alone=nodes == 1)
    placement = Placement(rank, size, local_rank, local_size, node, nodes, hosts)
    return Found(
        checked(placement, _SOURCES),
        _job(environ, facts, nodes),
        (optional(environ, _RESTARTS) or 0) + 1,
        environ.get(_ADDRESS) or None,
        (*_SOURCES, ("job", _RUN_ID), ("attempt", _RESTARTS), ("first_host", _ADDRESS)),
    )


def _job(environ: Mapping[str, str], facts: Facts, nodes: int) -> str:
    """Return the job's identity: run id and meeting point of torch, both alike on all workers.

    The run id is "none" unless asked for, and the port is 0 with --master-port 0: then the agent above the
    workers of the only node is what is the run's own.
    """
    address, port = environ.get(_ADDRESS, ""), environ.get(_PORT, "")
    if environ[_RUN_ID] != "none" or port not in ("", "0"):
        return f"torchrun-{environ[_RUN_ID]}-{address}:{port}"
    agent = next((pid for pid, name in facts.ancestors or () if name in _AGENTS), None)
    return f"torchrun-{facts.host}-{agent}" if nodes == 1 and agent is not None else ""
