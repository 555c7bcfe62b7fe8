from __future__ import annotations

import os

import pytest

from jobkit.cli.ssh_launch import grouped

HERE = os.uname().nodename


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (("h1", "h1", "h2"), [("h1", (0, 1), False), ("h2", (2,), False)]),
        (("localhost", "127.0.0.1", HERE, "h1"), [("localhost", (0, 1, 2), True), ("h1", (3,), False)]),
        (("h1", "127.0.0.1", "h1"), [("h1", (0, 2), False), ("127.0.0.1", (1,), True)]),
    ],
)
def test_all_entries_of_a_host_have_one_agent(
    names: tuple[str, ...], groups: list[tuple[str, tuple[int, ...], bool]]
) -> None:
    assert [(host.name, host.ranks, host.is_here) for host in grouped(names)] == groups
