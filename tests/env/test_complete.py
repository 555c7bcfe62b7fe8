from __future__ import annotations

from collections.abc import Callable

from jobkit.env.complete import complete, nodes_of
from jobkit.env.gang import Report, Table
from jobkit.env.placement import Placement

Make = Callable[..., Report]


def test_what_a_launcher_says_stays(make_table: Callable[..., Table]) -> None:
    said = Placement(1, 2, 1, 2, 0, 1, ("a", "b"))
    assert complete(said, make_table(2)) == said


def test_what_it_leaves_open_is_found_in_the_reports(make_report: Make) -> None:
    places = (("a", 0), ("b", 0), ("a", 1), ("b", 1), ("b", 2))
    reports = tuple(make_report(r, host=h, node=h, local_rank=i) for r, (h, i) in enumerate(places))
    unknown = Placement(4, 5, 2, None, None, None, (None,) * 5)
    assert complete(unknown, Table(reports, "")) == Placement(4, 5, 2, 3, 1, 2, ("a", "b", "a", "b", "b"))


def test_local_ranks_that_nobody_gave_follow_the_order_of_ranks(make_report: Make) -> None:
    reports = tuple(make_report(r, host=h, node=h, local_rank=None) for r, h in enumerate("abab"))
    unknown = Placement(3, 4, None, None, None, None, (None,) * 4)
    assert complete(unknown, Table(reports, "")) == Placement(3, 4, 1, 2, 1, 2, ("a", "b", "a", "b"))


def test_two_nodes_of_a_launcher_may_be_one_host(make_report: Make) -> None:
    reports = tuple(make_report(rank, local_rank=rank % 2) for rank in range(4))
    assert nodes_of(Table(reports, "")) == [0, 0, 1, 1]
