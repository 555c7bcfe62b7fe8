from __future__ import annotations

import pytest

from jobkit.env.launchers.dstack import detect
from jobkit.env.placement import Facts, Placement
from jobkit.errors import PlacementError

NODE = {
    "DSTACK_NODE_RANK": "0",
    "DSTACK_NODES_NUM": "2",
    "DSTACK_NODES_IPS": "10.0.0.4\n10.0.0.5",
    "DSTACK_MASTER_NODE_IP": "10.0.0.4",
    "DSTACK_RUN_NAME": "wet-mole-1",
}


def test_a_node_is_a_rank() -> None:
    found = detect(NODE, Facts("a"))
    assert found is not None
    assert found.placement == Placement(0, 2, 0, 1, 0, 2, ("10.0.0.4", "10.0.0.5"))
    assert (found.job, found.first_host) == ("dstack-wet-mole-1", "10.0.0.4")


def test_a_node_without_its_number_is_not_alone() -> None:
    with pytest.raises(PlacementError, match="DSTACK_NODE_RANK: not set"):
        detect({"DSTACK_NODES_NUM": "2", "DSTACK_RUN_NAME": "r"}, Facts())


def test_addresses_and_nodes_that_disagree_are_both_printed() -> None:
    with pytest.raises(PlacementError, match="DSTACK_NODES_IPS: 2 addresses: contradicts DSTACK_NODES_NUM=4"):
        detect({**NODE, "DSTACK_NODES_NUM": "4"}, Facts("a"))
