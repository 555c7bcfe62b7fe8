"""Python objects, between ranks that have proved to belong to the job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import jobkit.native as dist
from jobkit.errors import BackendError
from jobkit.native.group import Group

pytest.importorskip("jobkit.native._core")

Run = Callable[..., list[Any]]


def test_the_roots_object_arrives_everywhere(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        own = {"lr": 0.1, "names": ["a", "ü"], "rank": group.rank()}
        return dist.broadcast_object(own, 2, group=group)

    assert run_ranks(3, program) == [{"lr": 0.1, "names": ["a", "ü"], "rank": 2}] * 3


def test_the_objects_of_all_arrive_in_rank_order(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        return dist.all_gather_object(("rank", group.rank(), "x" * group.rank() * 1000), group=group)

    assert run_ranks(3, program) == [[("rank", r, "x" * r * 1000) for r in range(3)]] * 3


def test_strangers_are_not_unpickled(run_ranks: Run) -> None:
    def program(group: Group) -> None:
        for call in (dist.broadcast_object, dist.all_gather_object):
            with pytest.raises(BackendError, match="have not proved who they are"):
                call(1, group=group)

    run_ranks(2, program, token=b"")


def test_there_must_be_a_root(run_ranks: Run) -> None:
    def program(group: Group) -> None:
        with pytest.raises(ValueError, match="root: no such rank, got 2"):
            dist.broadcast_object(1, 2, group=group)

    run_ranks(2, program)
