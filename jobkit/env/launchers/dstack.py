"""The process that dstack starts on each node of a task."""

from __future__ import annotations

from jobkit.env.launchers.read import count, one_per_node
from jobkit.env.placement import Facts, Found

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_NODE, _NODES, _IPS = "DSTACK_NODE_RANK", "DSTACK_NODES_NUM", "DSTACK_NODES_IPS"
_MASTER, _RUN = "DSTACK_MASTER_NODE_IP", "DSTACK_RUN_NAME"
_SOURCES = (
    ("rank", _NODE),
    ("size", _NODES),
    ("hosts", _IPS),
    ("node", _NODE),
    ("nodes", _NODES),
    ("job", _RUN),
)


def detect(environ: Mapping[str, str], facts: Facts) -> Found | None:  # noqa: ARG001
    """Return this node's place among the lines of addresses.

    Source: https://dstack.ai/docs/concepts/tasks/#system-environment-variables.
    """
    if _NODE not in environ and environ.get(_NODES, "1") == "1":
        return None
    addresses = tuple(environ.get(_IPS, "").split())
    placement = one_per_node(count(environ, _NODE), count(environ, _NODES), addresses, _SOURCES)
    run = environ.get(_RUN, "")
    first = environ.get(_MASTER) or addresses[0]
    return Found(placement, f"dstack-{run}" if run else "", 1, first, _SOURCES)
