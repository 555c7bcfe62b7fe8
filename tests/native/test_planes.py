"""Announcements of operations whose data travels elsewhere, on the real engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jobkit import native
from jobkit.errors import BackendError
from jobkit.native import arrays
from jobkit.native.collectives import ALL_GATHER, ALL_SUM, BROADCAST
from jobkit.native.group import Group
from jobkit.native.messages import RECV, SEND
from jobkit.native.planes import MOST_OPEN, Announcements

FLOAT32 = arrays.DTYPES.index("float32")
DEADLINE_S = 60.0


def until_it_raises(plane: Announcements) -> str:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            plane.poll()
        except BackendError as error:
            return str(error)
        time.sleep(0.01)
    return ""


@pytest.mark.parametrize("checks", [False, True])
@pytest.mark.parametrize("n", [2, 3])
def test_what_all_ranks_announce_goes_between_what_the_engine_carries(
    run_ranks: Callable[..., list[Any]], n: int, checks: bool
) -> None:
    def program(group: Group) -> float:
        plane = Announcements(group.core, checks)
        total = 0.0
        for count in range(3 * MOST_OPEN):
            plane.open((ALL_SUM, ALL_GATHER, BROADCAST)[count % 3], count, FLOAT32, count % n)
            if count % 32 == 0:
                total += float(native.all_sum(np.ones(4, np.float32), group=group)[0])
        native.barrier(group=group)
        plane.poll()
        return total

    assert run_ranks(n, program) == [6.0 * n] * n


@pytest.mark.parametrize("checks", [False, True])
def test_calls_that_differ_raise_on_every_rank_and_name_both(
    run_ranks: Callable[..., list[Any]], checks: bool
) -> None:
    def program(group: Group) -> str:
        plane = Announcements(group.core, checks)
        try:
            plane.open(ALL_SUM, 4 + (group.rank() == 2), FLOAT32)
        except BackendError as error:
            return str(error)
        return until_it_raises(plane)

    for text in run_ranks(3, program):
        assert "called all_sum(float32, 4 elements" in text
        assert "called all_sum(float32, 5 elements" in text


def test_a_device_array_on_one_rank_and_one_in_memory_on_another_differ(
    run_ranks: Callable[..., list[Any]],
) -> None:
    def program(group: Group) -> str:
        if group.rank() == 0:
            plane = Announcements(group.core, False)
            plane.open(ALL_SUM, 4, FLOAT32)
            return until_it_raises(plane)
        with pytest.raises(BackendError) as raised:
            native.all_sum(np.ones(4, np.float32), group=group)
        return str(raised.value)

    for text in run_ranks(2, program):
        assert "called all_sum(float32, 4 elements, on a device), rank 1" in text


def test_messages_are_announced_to_their_other_end_alone(run_ranks: Callable[..., list[Any]]) -> None:
    def program(group: Group) -> bool:
        plane = Announcements(group.core, True)
        if group.rank() < 2:
            plane.open(SEND if group.rank() == 0 else RECV, 7, FLOAT32, 1 - group.rank(), tag=3)
        native.barrier(group=group)
        return bool(group.core.is_sound)

    assert run_ranks(3, program) == [True] * 3


def test_a_rank_that_has_left_is_named(run_ranks: Callable[..., list[Any]]) -> None:
    def program(group: Group) -> str:
        if group.rank() == 1:
            group.close()
            return ""
        plane = Announcements(group.core, False)
        plane.open(ALL_SUM, 4, FLOAT32)
        return until_it_raises(plane)

    assert "all_sum #1: rank 1 " in run_ranks(2, program)[0]


def test_data_that_does_not_come_fails_everybody(run_ranks: Callable[..., list[Any]]) -> None:
    def program(group: Group) -> str:
        plane = Announcements(group.core, True)
        plane.open(ALL_SUM, 4, FLOAT32)
        if group.rank() == 0:
            with pytest.raises(BackendError) as raised:
                plane.expire("all_sum", 2.0)
            return str(raised.value)
        return until_it_raises(plane)

    for text in run_ranks(2, program):
        assert "all_sum: waited 2.0 s for its data, and all ranks have called it" in text
