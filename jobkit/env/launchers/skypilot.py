"""The process that SkyPilot starts on each node of a task."""

from __future__ import annotations

from jobkit.env.launchers.read import count, one_per_node, optional
from jobkit.env.placement import Facts, Found

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_NODE, _NODES, _IPS = "SKYPILOT_NODE_RANK", "SKYPILOT_NUM_NODES", "SKYPILOT_NODE_IPS"
_TASK, _INTERNAL = "SKYPILOT_TASK_ID", "SKYPILOT_INTERNAL_JOB_ID"
_SOURCES = (
    ("rank", _NODE),
    ("size", _NODES),
    ("hosts", _IPS),
    ("node", _NODE),
    ("nodes", _NODES),
    ("job", _TASK),
)


def detect(environ: Mapping[str, str], facts: Facts) -> Found | None:  # noqa: ARG001
    """Return this node's place among the lines of addresses, whose order is that of the ranks.

    Source: https://docs.skypilot.co/en/stable/running-jobs/environment-variables.html.
    """
    if _NODE not in environ and environ.get(_NODES, "1") == "1":
        return None
    addresses = tuple(environ.get(_IPS, "").split())
    nodes = optional(environ, _NODES) or len(addresses)
    placement = one_per_node(count(environ, _NODE), nodes, addresses, _SOURCES)
    task = environ.get(_TASK) or environ.get(_INTERNAL) or ""
    return Found(placement, f"skypilot-{task}" if task else "", 1, addresses[0], _SOURCES)
