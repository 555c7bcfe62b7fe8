from __future__ import annotations

from collections.abc import Callable

from jobkit.env.gang import Table
from jobkit.env.mlx import ring


def test_a_row_per_rank_and_an_address_per_connection(make_table: Callable[..., Table]) -> None:
    assert ring.hostfile(make_table(2)) == '[["127.0.0.1:20000"], ["127.0.0.1:20001"]]'


def test_several_addresses_have_several_ports_each(make_table: Callable[..., Table]) -> None:
    table = make_table(1, addresses=("10.0.0.1", "10.0.1.1"), ring=((1, 2), (3, 4)))
    assert ring.hostfile(table) == '[["10.0.0.1:1", "10.0.0.1:2", "10.0.1.1:3", "10.0.1.1:4"]]'


def test_the_variable_names_the_file() -> None:
    assert ring.variables("/run/hosts.json") == {"MLX_HOSTFILE": "/run/hosts.json"}
