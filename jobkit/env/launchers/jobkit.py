"""A rank that jobkit's own agent placed."""

from __future__ import annotations

from collections.abc import Mapping

from jobkit.env import names
from jobkit.env.launchers.read import checked, count
from jobkit.env.placement import Facts, Found, Placement


def detect(environ: Mapping[str, str], facts: Facts) -> Found | None:
    """Return what the JOBKIT_ variables say."""
    if names.RANK not in environ:
        return None
    rank, size, local_rank, local_size, node, nodes = (count(environ, name) for name in names.PLACEMENT)
    alone = local_size == size
    hosts = tuple(facts.host if alone or r == rank else None for r in range(size))
    placement = Placement(rank, size, local_rank, local_size, node, nodes, hosts)
    attempt = count(environ, names.ATTEMPT) if environ.get(names.ATTEMPT) else 1
    sources = tuple(zip(Placement.__match_args__, names.PLACEMENT, strict=False))
    return Found(
        checked(placement, names.RANK, names.LOCAL_RANK), environ.get(names.JOB, ""), attempt, None, sources
    )
