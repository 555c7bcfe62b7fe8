"""A task of `flux run` or `flux submit`."""

from __future__ import annotations

from jobkit.env.launchers.read import checked, count, own_host
from jobkit.env.placement import Facts, Found, NotARank, Placement

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANK, _SIZE = "FLUX_TASK_RANK", "FLUX_JOB_SIZE"
_LOCAL_RANK, _NODES, _JOB = "FLUX_TASK_LOCAL_ID", "FLUX_JOB_NNODES", "FLUX_JOB_ID"
_PATH = "FLUX_JOB_ID_PATH"  # through all instances around this one: "/fuzzA/fuzzB"
_ENCLOSING = "FLUX_ENCLOSING_ID"
_SOURCES = (("rank", _RANK), ("size", _SIZE), ("local_rank", _LOCAL_RANK), ("nodes", _NODES), ("job", _JOB))


def detect(environ: Mapping[str, str], facts: Facts) -> Found | NotARank | None:
    """Return what Flux says; it has no variable for hosts or local sizes.

    Source: https://flux-framework.readthedocs.io/projects/flux-core/en/latest/man7/flux-environment.html.
    """
    if _RANK not in environ:
        return _batch(environ)
    rank, size, local_rank, nodes = (count(environ, name) for _, name in _SOURCES[:4])
    alone = nodes == 1
    hosts = own_host(size, rank, facts.host, alone=alone)
    local_size = size if alone else 1 if nodes == size else None
    placement = Placement(rank, size, local_rank, local_size, 0 if alone else None, nodes, hosts)
    job = environ.get(_PATH) or environ.get(_JOB) or ""
    return Found(checked(placement, _SOURCES), f"flux-{job}" if job else "", sources=_SOURCES)


def _batch(environ: Mapping[str, str]) -> NotARank | None:
    """The first process of an instance that is itself a job: `flux batch` or `flux alloc`."""
    if _ENCLOSING not in environ:
        return None
    job = environ[_ENCLOSING]
    return NotARank(
        f"{_ENCLOSING}={job}: the script or shell of a Flux batch job, which is no task; start the ranks "
        "with flux run -n N jobkit exec -- COMMAND",
        f"flux-{job}",
    )
