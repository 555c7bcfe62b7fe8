"""Any two of ranks, nodes and ranks per node give the third; one alone has its own meaning."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobkit.spec.geometry import Geometry, geometry
from jobkit.spec.wrong import Wrong


@pytest.mark.parametrize(
    ("ranks", "nodes", "ranks_per_node", "hosts", "expected"),
    [
        (None, None, None, None, (1, 1, 1)),
        (4, None, None, None, (4, 1, 4)),
        (None, 3, None, None, (3, 3, 1)),
        (None, None, 4, None, (4, 1, 4)),
        (None, 2, 4, None, (8, 2, 4)),
        (8, 2, None, None, (8, 2, 4)),
        (8, None, 2, None, (8, 4, 2)),
        (8, 2, 4, None, (8, 2, 4)),
        (4, None, None, 2, (4, 2, 2)),
        (1, None, None, 2, (1, 1, 1)),
        (None, None, 4, 2, (8, 2, 4)),
        (None, None, None, 2, (1, 1, 1)),
        (None, 1, None, 2, (1, 1, 1)),
        (4, None, 4, 2, (4, 1, 4)),
    ],
)
def test_a_shape_is_worked_out(
    ranks: int | None,
    nodes: int | None,
    ranks_per_node: int | None,
    hosts: int | None,
    expected: tuple[int, ...],
) -> None:
    assert geometry(ranks, nodes, ranks_per_node, hosts=hosts) == Geometry(*expected)


@pytest.mark.parametrize(
    ("ranks", "nodes", "ranks_per_node", "hosts", "wrong"),
    [
        (8, 2, 2, None, "disagrees with nodes: 2 and ranks_per_node: 2"),
        (5, 2, None, None, "cannot be spread evenly with nodes: 2"),
        (5, None, 2, None, "cannot be spread evenly with ranks_per_node: 2"),
        (5, None, None, 2, "cannot be spread evenly with nodes: 2"),
        (1, 2, None, None, "cannot be spread evenly with nodes: 2"),
    ],
)
def test_numbers_that_disagree_are_refused(
    ranks: int, nodes: int | None, ranks_per_node: int | None, hosts: int | None, wrong: str
) -> None:
    with pytest.raises(Wrong) as caught:
        geometry(ranks, nodes, ranks_per_node, hosts=hosts)

    assert caught.value.wrong == wrong


COUNT = st.none() | st.integers(1, 12)


@given(COUNT, COUNT, COUNT, COUNT)
def test_a_shape_always_adds_up(
    ranks: int | None, nodes: int | None, ranks_per_node: int | None, hosts: int | None
) -> None:
    try:
        shape = geometry(ranks, nodes, ranks_per_node, hosts=hosts)
    except Wrong:
        return
    assert shape.ranks == shape.nodes * shape.ranks_per_node
    assert shape.ranks == (ranks or shape.ranks)
    assert shape.nodes == (nodes or shape.nodes)
    assert shape.ranks_per_node == (ranks_per_node or shape.ranks_per_node)
