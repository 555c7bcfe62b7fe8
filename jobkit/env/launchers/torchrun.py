"""A worker of torchrun (torch.distributed.run, accelerate launch)."""

from __future__ import annotations

from jobkit.env.launchers.read import checked, count, optional, own_host
from jobkit.env.placement import Facts, Found, Placement

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_RUN_ID, _RESTARTS = "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"
_ADDRESS, _PORT = "MASTER_ADDR", "MASTER_PORT"
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
        # The run id is "none" unless asked for: the port tells one run from another.
        f"torchrun-{environ[_RUN_ID]}-{environ.get(_ADDRESS, '')}:{environ.get(_PORT, '')}",
        (optional(environ, _RESTARTS) or 0) + 1,
        environ.get(_ADDRESS) or None,
        (*_SOURCES, ("job", _RUN_ID), ("attempt", _RESTARTS), ("first_host", _ADDRESS)),
    )
