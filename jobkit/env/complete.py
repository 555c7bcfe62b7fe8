"""Fill in what a launcher does not say, once every rank has reported where it is."""

from __future__ import annotations

from jobkit.env.gang import Table
from jobkit.env.placement import Placement


def complete(placement: Placement, table: Table) -> Placement:
    """Return the placement without unknowns, with a host for every rank."""
    nodes = nodes_of(table)
    node = nodes[placement.rank]
    hosts = zip(placement.hosts, table.reports, strict=True)
    return Placement(
        placement.rank,
        placement.size,
        nodes[: placement.rank].count(node) if placement.local_rank is None else placement.local_rank,
        nodes.count(node) if placement.local_size is None else placement.local_size,
        node if placement.node is None else placement.node,
        max(nodes) + 1 if placement.nodes is None else placement.nodes,
        tuple(name or report.host for name, report in hosts),
    )


def nodes_of(table: Table) -> list[int]:
    """Return the node of each rank, numbered in the order of their first ranks.

    Ranks are on one node if host and identity are the same and their local ranks are not: two "nodes" of a
    launcher may be one host (several slurmd on a machine, say).
    """
    places: dict[tuple[str, str, int], set[int | None]] = {}
    numbers: dict[tuple[str, str, int], int] = {}
    nodes = []
    for report in table.reports:
        again = 0
        while _is_taken(report.local_rank, places.get((report.host, report.node, again), set())):
            again += 1
        place = (report.host, report.node, again)
        places.setdefault(place, set()).add(report.local_rank)
        nodes.append(numbers.setdefault(place, len(numbers)))
    return nodes


def _is_taken(local_rank: int | None, others: set[int | None]) -> bool:
    return local_rank is not None and local_rank in others
