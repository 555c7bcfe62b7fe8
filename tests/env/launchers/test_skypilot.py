from __future__ import annotations

import pytest

from jobkit.env.launchers.skypilot import detect
from jobkit.env.placement import Facts, Placement
from jobkit.errors import PlacementError

NODE = {
    "SKYPILOT_NODE_RANK": "1",
    "SKYPILOT_NUM_NODES": "2",
    "SKYPILOT_NODE_IPS": "10.0.0.4\n10.0.0.5\n",
    "SKYPILOT_TASK_ID": "sky-2026-01-01-00-00-00-000000_train_1",
}


def test_a_node_is_a_rank() -> None:
    found = detect(NODE, Facts("b"))
    assert found is not None
    assert found.placement == Placement(1, 2, 0, 1, 1, 2, ("10.0.0.4", "10.0.0.5"))
    assert found.first_host == "10.0.0.4"
    assert found.job == "skypilot-sky-2026-01-01-00-00-00-000000_train_1"


def test_the_number_of_nodes_may_be_that_of_the_addresses() -> None:
    found = detect({name: value for name, value in NODE.items() if name != "SKYPILOT_NUM_NODES"}, Facts("b"))
    assert found is not None
    assert found.placement.size == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"SKYPILOT_NUM_NODES": "3"}, "SKYPILOT_NODE_IPS: 2 addresses: contradicts SKYPILOT_NUM_NODES=3"),
        ({"SKYPILOT_NODE_IPS": ""}, "SKYPILOT_NODE_IPS: 0 addresses"),
        ({"SKYPILOT_NODE_RANK": "2"}, "SKYPILOT_NODE_RANK: not a rank of this job, got 2"),
    ],
)
def test_what_cannot_be_is_named(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(PlacementError, match=message):
        detect({**NODE, **wrong}, Facts("b"))
