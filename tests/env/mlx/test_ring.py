from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from jobkit.env.gang import Table
from jobkit.env.mlx import ring

Make = Callable[..., Table]


@pytest.mark.parametrize(
    ("ports", "addresses", "rows"),
    [
        (((1,),), (("a",), ("b",)), [["a:1"], ["b:1"]]),
        (((1, 2),), (("a",), ("b",)), [["a:1", "a:2"], ["b:1", "b:2"]]),
        # One row of ports is held on every address.
        (((1, 2),), (("a", "x"), ("b", "y")), [["a:1", "a:2", "x:1", "x:2"], ["b:1", "b:2", "y:1", "y:2"]]),
        (((1, 2), (3, 4)), (("a", "x"),) * 2, [["a:1", "a:2", "x:3", "x:4"]] * 2),
        # MLX refuses rows of different lengths.
        (((1,),), (("a", "x"), ("b",)), [["a:1"], ["b:1"]]),
    ],
)
def test_a_row_per_rank_with_every_port_of_every_address(
    make_table: Make, ports: Any, addresses: Any, rows: list[list[str]]
) -> None:
    assert json.loads(ring.hostfile(make_table(2, ring=ports), addresses)) == rows


def test_each_rank_has_its_own_ports(make_table: Make) -> None:
    loopback = (("127.0.0.1",),) * 2
    assert ring.hostfile(make_table(2), loopback) == '[["127.0.0.1:20000"], ["127.0.0.1:20001"]]'


def test_the_variable_names_the_file() -> None:
    assert ring.variables("/run/hosts.json") == {"MLX_HOSTFILE": "/run/hosts.json"}
