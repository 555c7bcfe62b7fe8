"""Work out how many ranks run on how many nodes."""

from __future__ import annotations

from dataclasses import dataclass

from jobkit.spec.wrong import Wrong


@dataclass(frozen=True)
class Geometry:
    """The shape of a job: `ranks` = `nodes` x `ranks_per_node`."""

    ranks: int
    nodes: int
    ranks_per_node: int


def geometry(
    ranks: int | None, nodes: int | None, ranks_per_node: int | None, *, hosts: int | None = None
) -> Geometry:
    """Return the shape that any two of three numbers give, or one of them alone.

    Args:
        ranks: All ranks.
        nodes: Machines.
        ranks_per_node: Ranks on each machine.
        hosts: How many machines are listed; `ranks` or `ranks_per_node` alone spread over them.

    Raises:
        Wrong: The three disagree, or the ranks cannot be spread evenly.
    """
    if nodes is None and ranks is not None and ranks_per_node is not None:
        return Geometry(
            ranks, _divided(ranks, ranks_per_node, f"ranks_per_node: {ranks_per_node}"), ranks_per_node
        )
    if nodes is None:
        nodes = hosts or 1 if ranks_per_node is not None else min(hosts or 1, ranks or 1)
    if ranks_per_node is None:
        ranks_per_node = 1 if ranks is None else _divided(ranks, nodes, f"nodes: {nodes}")
    if ranks not in (None, nodes * ranks_per_node):
        given = f"nodes: {nodes} and ranks_per_node: {ranks_per_node}"
        raise Wrong(
            f"disagrees with {given}", got=ranks, expected=f"{nodes * ranks_per_node}, or one of them less"
        )
    return Geometry(nodes * ranks_per_node, nodes, ranks_per_node)


def _divided(ranks: int, by: int, given: str) -> int:
    if ranks % by:
        raise Wrong(f"cannot be spread evenly with {given}", got=ranks, expected=f"a multiple of {by}")
    return ranks // by
