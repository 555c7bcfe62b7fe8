from __future__ import annotations

import pytest

from jobkit.env.launchers.torchrun import detect
from jobkit.env.placement import Facts, Found, Placement
from jobkit.errors import PlacementError

HERE = Facts(host="b")
WORKER = {
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "2",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1",
    "GROUP_WORLD_SIZE": "2",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "29500",
}


def test_a_worker_is_placed_by_its_agent() -> None:
    found = detect(WORKER, HERE)
    assert isinstance(found, Found)
    assert found.placement == Placement(3, 4, 1, 2, 1, 2, (None, None, None, "b"))
    assert (found.job, found.attempt, found.first_host) == ("torchrun-none-a:29500", 3, "a")


def test_on_one_node_every_host_is_known() -> None:
    alone = {"RANK": "1", "WORLD_SIZE": "2", "GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1"}
    found = detect({**WORKER, **alone}, HERE)
    assert found is not None
    assert found.placement.hosts == ("b", "b")


def test_runs_without_a_name_and_a_port_are_told_apart_by_their_agents() -> None:
    alone = {"RANK": "1", "WORLD_SIZE": "2", "GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1", "MASTER_PORT": "0"}
    jobs = set()
    for pid in (7, 8):
        facts = Facts("b", ancestors=((1, "sh"), (pid, "pt_elastic"), (2, "bash")))
        found = detect({**WORKER, **alone}, facts)
        assert found is not None
        jobs.add(found.job)
    assert jobs == {"torchrun-b-7", "torchrun-b-8"}


@pytest.mark.parametrize("nodes", ["1", "2"])
def test_a_run_that_cannot_be_told_from_others_has_no_name(nodes: str) -> None:
    found = detect({**WORKER, "GROUP_RANK": "0", "GROUP_WORLD_SIZE": nodes, "MASTER_PORT": "0"}, HERE)
    assert found is not None
    assert found.job == ""


def test_its_agent_and_variables_set_by_hand_are_not_it() -> None:
    assert detect({"RANK": "0", "WORLD_SIZE": "1"}, HERE) is None
    assert detect({"TORCHELASTIC_RUN_ID": "x"}, HERE) is None


def test_a_node_outside_its_number_is_named() -> None:
    with pytest.raises(
        PlacementError, match=r"GROUP_RANK: not a node of this job, got 2, .*GROUP_WORLD_SIZE"
    ):
        detect({**WORKER, "GROUP_RANK": "2"}, HERE)
