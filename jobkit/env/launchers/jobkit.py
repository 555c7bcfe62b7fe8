"""A rank that jobkit's own agent, or a jobkit around this one, placed."""

from __future__ import annotations

from jobkit.env import names
from jobkit.env.launchers.read import checked, count, own_host
from jobkit.env.placement import Facts, Found, Placement

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_SOURCES = tuple(zip(Placement.__match_args__, names.PLACEMENT, strict=False))


def detect(environ: Mapping[str, str], facts: Facts) -> Found | None:
    """Return what the JOBKIT_ variables say."""
    if names.RANK not in environ:
        return None
    rank, size, local_rank, local_size, node, nodes = (count(environ, name) for name in names.PLACEMENT)
    hosts = own_host(size, rank, facts.host, alone=local_size == size)
    placement = Placement(rank, size, local_rank, local_size, node, nodes, hosts)
    attempt = count(environ, names.ATTEMPT) if environ.get(names.ATTEMPT) else 1
    sources = (*_SOURCES, ("job", names.JOB), ("attempt", names.ATTEMPT))
    return Found(checked(placement, _SOURCES), environ.get(names.JOB, ""), attempt, None, sources)
