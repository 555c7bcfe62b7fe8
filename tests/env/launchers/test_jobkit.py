from __future__ import annotations

from collections.abc import Mapping

import pytest

from jobkit.env.launchers.jobkit import detect
from jobkit.env.placement import Facts, Placement
from jobkit.errors import PlacementError

HERE = Facts(host="node-1")


def placed(environ: Mapping[str, str], facts: Facts) -> Placement | None:
    found = detect(environ, facts)
    return None if found is None else found.placement


def environ(rank: int, size: int, local_rank: int, local_size: int, node: int, nodes: int) -> dict[str, str]:
    names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE", "NODE", "NODES")
    values = (rank, size, local_rank, local_size, node, nodes)
    return {f"JOBKIT_{name}": str(value) for name, value in zip(names, values, strict=True)}


def test_ranks_of_one_host_know_each_others_host() -> None:
    assert placed(environ(1, 2, 1, 2, 0, 1), HERE) == Placement(1, 2, 1, 2, 0, 1, ("node-1", "node-1"))


def test_of_several_hosts_a_rank_knows_its_own() -> None:
    found = placed(environ(2, 4, 0, 2, 1, 2), HERE)
    assert found is not None
    assert found.hosts == (None, None, "node-1", None)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"JOBKIT_RANK": "2"}, "JOBKIT_RANK: not a rank of this job, got 2, expected less than 2"),
        ({"JOBKIT_LOCAL_RANK": "5"}, "JOBKIT_LOCAL_RANK: not a local rank"),
        ({"JOBKIT_SIZE": ""}, "JOBKIT_SIZE: not a count, got ''"),
        ({"JOBKIT_RANK": "-1"}, "JOBKIT_RANK: not a count, got '-1'"),
        ({"JOBKIT_NODES": "two"}, "JOBKIT_NODES: not a count, got 'two'"),
    ],
)
def test_a_variable_that_cannot_be_is_named(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(PlacementError, match=message.replace("(", r"\(")):
        detect({**environ(1, 2, 1, 2, 0, 1), **wrong}, HERE)
