from __future__ import annotations

from collections.abc import Callable

import pytest

from jobkit.env.gang import Report, Table
from jobkit.env.reachable import reachable
from jobkit.errors import LaunchError

Make = Callable[..., Report]


@pytest.mark.parametrize("addresses", [(), ("10.0.0.1", "10.1.0.1")])
def test_ranks_that_share_loopback_meet_there(
    make_table: Callable[..., Table], addresses: tuple[str, ...]
) -> None:
    assert reachable(make_table(3, addresses=addresses)) == (("127.0.0.1",),) * 3


def test_ranks_of_several_hosts_meet_at_their_addresses(make_report: Make) -> None:
    first = make_report(0, node="boot:1", addresses=("10.0.0.1", "10.1.0.1"))
    second = make_report(1, node="boot:2", addresses=("10.0.0.2",))
    assert reachable(Table((first, second), "")) == (("10.0.0.1", "10.1.0.1"), ("10.0.0.2",))


def test_a_rank_that_others_cannot_reach_is_named(make_report: Make) -> None:
    first = make_report(0, addresses=("10.0.0.1",))
    second = make_report(1, host="b", node="boot:2", addresses=())
    with pytest.raises(LaunchError, match=r"rank 1 on b: no IPv4 address(.|\n)*network\.subnet"):
        reachable(Table((first, second), ""))
