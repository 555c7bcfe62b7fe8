from __future__ import annotations

from collections.abc import Mapping

import pytest

from jobkit.env.launchers.env import detect
from jobkit.env.placement import Facts, Placement
from jobkit.errors import PlacementError

HERE = Facts(host="node-1")


def placed(environ: Mapping[str, str], facts: Facts) -> Placement | None:
    found = detect(environ, facts)
    return None if found is None else found.placement


def test_a_hostfile_gives_size_and_hosts() -> None:
    facts = Facts("b", ("a", "a", "b"))
    assert placed({"MLX_RANK": "2"}, facts) == Placement(2, 3, 0, 1, 1, 2, ("a", "a", "b"))
    assert placed({"MLX_RANK": "1"}, facts) == Placement(1, 3, 1, 2, 0, 2, ("a", "a", "b"))


def test_a_world_size_of_mlx_is_taken_for_one_host() -> None:
    expected = Placement(1, 2, 1, 2, 0, 1, ("node-1", "node-1"))
    assert placed({"MLX_RANK": "1", "MLX_WORLD_SIZE": "2"}, HERE) == expected


def test_torchs_variables_say_how_ranks_lie_on_nodes() -> None:
    environ = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    found = placed(environ, HERE)
    assert found is not None
    assert (found.rank, found.local_rank, found.node, found.nodes) == (5, 1, 1, 2)


@pytest.mark.parametrize(
    "environ",
    [
        {"MLX_RANK": "1"},
        {"RANK": "1"},
        {"WORLD_SIZE": "2"},
        {"RANK": "", "WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": ""},
    ],
)
def test_half_a_placement_is_an_error_that_names_the_other_half(environ: dict[str, str]) -> None:
    with pytest.raises(PlacementError, match=r"(?s)says nothing without .*set .* too, or unset"):
        detect(environ, HERE)


@pytest.mark.parametrize("environ", [{}, {"MLX_RANK": ""}, {"RANK": "", "WORLD_SIZE": ""}])
def test_nothing_is_none(environ: dict[str, str]) -> None:
    assert detect(environ, HERE) is None


@pytest.mark.parametrize(
    ("environ", "facts", "message"),
    [
        ({"MLX_RANK": "3"}, Facts("a", ("a", "b")), "MLX_RANK: not a rank of this job, got 3"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, HERE, "RANK: not a count, got 'x'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, HERE, "RANK: not a rank of this job"),
    ],
)
def test_a_rank_that_cannot_be_is_named(environ: dict[str, str], facts: Facts, message: str) -> None:
    with pytest.raises(PlacementError, match=message):
        detect(environ, facts)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", Placement(1, 2, 1, 2, 0, 1, ("node-1", "node-1"))),
        ("localhost", Placement(1, 2, 1, 2, 0, 1, ("node-1", "node-1"))),
        ("10.0.0.1", Placement(1, 2, None, None, None, None, (None, "node-1"))),
    ],
)
def test_ranks_that_meet_elsewhere_may_be_on_several_nodes(address: str, expected: Placement) -> None:
    assert placed({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": address}, HERE) == expected
