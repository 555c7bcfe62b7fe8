from __future__ import annotations

import pytest

from jobkit.env.launchers.read import agree, checked, count, one_per_node, optional, own_host, placed
from jobkit.env.placement import Facts, Placement
from jobkit.errors import PlacementError

SOURCES = (
    ("rank", "R"),
    ("size", "S"),
    ("local_rank", "LR"),
    ("local_size", "LS"),
    ("nodes", "N"),
    ("hosts", "H"),
)


def test_a_count_is_read() -> None:
    assert count({"N": "012"}, "N") == 12
    assert optional({}, "N") is None


@pytest.mark.parametrize("text", ["", " 1", "1.0", "-1", "+1", "٣", "1_0", "4194305", "9" * 5000])
def test_what_is_no_plain_number_is_refused(text: str) -> None:
    with pytest.raises(PlacementError, match="N: not a count"):
        count({"N": text}, "N")
    with pytest.raises(PlacementError, match="N: not a count"):
        optional({"N": text}, "N")


def test_a_variable_that_is_missing_is_named_with_a_remedy() -> None:
    with pytest.raises(PlacementError, match=r"(?s)N: not set.*hint: unset what another launcher left"):
        count({}, "N")


@pytest.mark.parametrize(
    ("placement", "message"),
    [
        (Placement(2, 2, 0, 1, 0, 1, ()), r"R: not a rank of this job, got 2, expected less than 2 \(S\)"),
        (Placement(0, 2, 1, 1, 0, 1, ()), r"LR: not a local rank of this job, got 1, .*less than 1 \(LS\)"),
        (Placement(0, 2, 0, 1, 1, 1, ()), r"node: not a node of this job, got 1, expected less than 1 \(N\)"),
        (Placement(0, 2, 0, 3, 0, 1, ()), "LS: contradicts S=2, got 3"),
        (Placement(0, 2, 0, 1, 0, 3, ()), "N: contradicts S=2, got 3"),
    ],
)
def test_a_number_outside_its_size_is_named(placement: Placement, message: str) -> None:
    with pytest.raises(PlacementError, match=message):
        checked(placement, SOURCES)


def test_what_is_not_known_is_not_checked() -> None:
    placement = Placement(1, 2, 5, None, None, None, (None, None))
    assert checked(placement, SOURCES) is placement


def test_two_variables_that_disagree_are_both_printed() -> None:
    agree({"A": "1", "B": "1"}, "A", "B")
    agree({"A": "1"}, "A", "B")
    with pytest.raises(PlacementError, match="A=1: contradicts B=2"):
        agree({"A": "1", "B": "2"}, "A", "B")


def test_a_rank_knows_its_own_host_or_all_of_one() -> None:
    assert own_host(3, 1, "a") == (None, "a", None)
    assert own_host(2, 1, "a", alone=True) == ("a", "a")


def test_the_four_numbers_of_an_mpi_library_make_a_placement() -> None:
    environ = {"R": "1", "S": "2", "LR": "1", "LS": "2"}
    assert placed(environ, Facts("a"), SOURCES) == Placement(1, 2, 1, 2, 0, 1, ("a", "a"))


def test_a_node_is_a_rank_where_there_is_a_host_for_each() -> None:
    assert one_per_node(1, 2, ("a", "b"), SOURCES) == Placement(1, 2, 0, 1, 1, 2, ("a", "b"))
    with pytest.raises(PlacementError, match="H: 1 addresses: contradicts S=2"):
        one_per_node(0, 2, ("a",), SOURCES)
