from __future__ import annotations

import os

import pytest

from jobkit.cli.ssh_launch import grouped

HERE = os.uname().nodename


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (("h1", "h1", "h2"), [("h1", 2, False), ("h2", 1, False)]),
        (("localhost", "127.0.0.1", HERE, "h1"), [("localhost", 3, True), ("h1", 1, False)]),
        (("h1", "127.0.0.1", "h1"), [("h1", 1, False), ("127.0.0.1", 1, True), ("h1", 1, False)]),
    ],
)
def test_entries_of_one_host_that_follow_each_other_have_one_agent(
    names: tuple[str, ...], groups: list[tuple[str, int, bool]]
) -> None:
    assert [(host.name, host.ranks, host.is_here) for host in grouped(names)] == groups
