from __future__ import annotations

import pytest

from jobkit.env.addresses import addresses
from jobkit.env.placement import Placement
from jobkit.errors import LaunchError


def test_ranks_of_one_host_meet_on_loopback() -> None:
    assert addresses(Placement(1, 2, 1, 2, 0, 1, ("a", "a"))) == ("127.0.0.1",)


def test_several_hosts_are_refused() -> None:
    with pytest.raises(LaunchError, match="several hosts"):
        addresses(Placement(1, 4, 1, 2, 0, 2, ("a", "a", None, None)))
