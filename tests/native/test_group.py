"""Groups: who is in them, how they are split, aborted and left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jobkit.native as dist
from jobkit.errors import BackendError
from jobkit.native.group import Group, seconds

Run = Callable[..., list[Any]]

needs_engine = pytest.mark.skipif(not dist.is_available("ring"), reason="the engine is not built")


def test_a_group_of_one_is_rank_0_of_1_and_does_nothing() -> None:
    group = Group(None)
    assert (group.rank(), group.size(), group.topology(), group.is_authenticated) == (0, 1, {}, True)
    assert group.failure() is None
    group.abort()
    group.close()
    assert repr(group) == "<jobkit.native.Group none: rank 0 of 1>"


def test_a_time_is_a_positive_number_of_seconds() -> None:
    assert seconds(None) < 0
    assert seconds(2) == 2.0
    for wrong in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="timeout: not a time"):
            seconds(wrong)
    for other in ("5", 1j, [], {}):
        with pytest.raises(TypeError, match="timeout: not a number"):
            seconds(other)  # type: ignore[arg-type]


def test_a_color_and_a_key_are_integers() -> None:
    group = Group(None)
    with pytest.raises(TypeError, match=r"split: not an integer, got '1', expected an integer from 0"):
        group.split("1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"split: not an integer, got 0\.5, expected an integer up to"):
        group.split(0, 0.5)  # type: ignore[arg-type]


@needs_engine
def test_a_group_knows_its_ranks_and_backend(run_ranks: Run) -> None:
    found = run_ranks(3, lambda group: (group.rank(), group.size(), group.backend, group.is_authenticated))
    assert found == [(rank, 3, "ring", True) for rank in range(3)]


@needs_engine
def test_equal_colors_form_a_group_in_the_old_order(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        part = group.split(group.rank() % 2)
        assert part is not None
        return part.rank(), part.size(), dist.all_gather(np.array([group.rank()]), group=part).tolist()

    even, odd = [0, 2, 4], [1, 3]
    assert run_ranks(5, program) == [(0, 3, even), (0, 2, odd), (1, 3, even), (1, 2, odd), (2, 3, even)]


@needs_engine
def test_a_key_orders_the_new_group_and_ties_go_by_rank(run_ranks: Run) -> None:
    keys = [5, 5, 1, 3]

    def program(group: Group) -> Any:
        part = dist.split(0, keys[group.rank()], group=group)
        return dist.all_gather(np.array([group.rank()]), group=part).tolist()

    assert run_ranks(4, program) == [[2, 3, 0, 1]] * 4


@needs_engine
def test_a_rank_without_a_color_is_in_no_group(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        part = group.split(None if group.rank() == 1 else 0)
        return None if part is None else (part.rank(), part.size())

    assert run_ranks(3, program) == [(0, 2), None, (1, 2)]


@needs_engine
def test_a_part_of_one_rank_is_a_group_of_one(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        part = group.split(group.rank())
        assert part is not None
        x = np.ones(2)
        assert dist.all_sum(x, group=part) is x
        with pytest.raises(ValueError, match="a group of one"):
            dist.send(x, 0, group=part)
        return part.size()

    assert run_ranks(2, program) == [1, 1]


@needs_engine
def test_a_negative_color_is_refused_before_anything_is_sent(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        with pytest.raises(ValueError, match="split: not a color, got -1, expected an integer from 0 "):
            group.split(-1)
        return dist.all_sum(1, group=group).item()

    assert run_ranks(2, program) == [2, 2]


@needs_engine
@pytest.mark.parametrize(
    ("choice", "wrong"),
    [((2**31,), "not a color, got 2147483648"), ((0, 2**31), "not a key, got 2147")],
)
def test_a_color_or_key_of_more_than_31_bits_is_refused_before_anything_is_sent(
    run_ranks: Run, choice: tuple[int, ...], wrong: str
) -> None:
    def program(group: Group) -> Any:
        with pytest.raises(ValueError, match=f"split: {wrong}"):
            group.split(*choice)
        part = group.split(2**31 - 1, -(2**40))
        return None if part is None else part.rank()

    assert run_ranks(2, program) == [0, 1]


@needs_engine
def test_parts_are_split_again_and_used_beside_the_whole(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        half = group.split(group.rank() // 4)
        assert half is not None
        quarter = half.split(half.rank() // 2)
        return [int(dist.all_sum(group.rank(), group=each)) for each in (group, half, quarter, group)]

    pairs = [1, 1, 5, 5, 9, 9, 13, 13]
    assert run_ranks(8, program) == [[28, 6 if r < 4 else 22, pairs[r], 28] for r in range(8)]


@needs_engine
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.none() | st.integers(0, 2), st.integers(-1, 3)), min_size=2, max_size=5))
def test_any_split_puts_every_rank_where_it_belongs(run_ranks: Run, choices: list[tuple[Any, int]]) -> None:
    if not all(key >= 0 for _, key in choices):
        choices = [(color, -1) for color, _ in choices]

    def program(group: Group) -> Any:
        part = group.split(*choices[group.rank()])
        return None if part is None else dist.all_gather(np.array([group.rank()]), group=part).tolist()

    for rank, found in enumerate(run_ranks(len(choices), program)):
        color = choices[rank][0]
        members = [r for r, (other, _) in enumerate(choices) if other == color]
        expected = None if color is None else sorted(members, key=lambda r: (choices[r][1], r))
        assert found == expected


@needs_engine
def test_an_abort_ends_a_wait_on_every_rank_with_its_reason(run_ranks: Run) -> None:
    def program(group: Group) -> str:
        if group.rank() == 1:
            threading.Timer(0.2, group.abort, ["the coffee is cold"]).start()
        with pytest.raises(BackendError) as caught:
            dist.recv(1, np.float64, 1 - group.rank(), group=group)
        with pytest.raises(BackendError):
            dist.barrier(group=group)
        assert "the coffee is cold" in str(group.failure())
        return str(caught.value)

    assert all("the coffee is cold" in text for text in run_ranks(2, program))


@needs_engine
def test_a_rank_that_leaves_is_an_error_for_who_needs_it_only(run_ranks: Run) -> None:
    left = threading.Event()

    def program(group: Group) -> Any:
        total = dist.all_sum(1, group=group).item()
        if group.rank() == 0:
            group.close()
            left.set()
            return total
        assert left.wait(30)
        other = 3 - group.rank()
        swapped = dist.sendrecv(np.array(group.rank()), other, other, group=group).item()
        with pytest.raises(BackendError, match=r"rank 0 .*left after all_sum #1"):
            dist.barrier(group=group)
        return total, swapped

    assert run_ranks(3, program) == [3, (3, 2), (3, 1)]


@needs_engine
def test_survivors_go_on_in_a_smaller_group_until_one_is_left(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        sizes = []
        for leaver in (2, 1):
            if group.rank() == leaver:
                return sizes
            with pytest.raises(BackendError, match="left"):
                while True:
                    dist.barrier(group=group)
            group = group.shrink()
            sizes.append((group.size(), dist.all_sum(1, group=group).item(), group.is_authenticated))
        assert group.shrink() is group
        return sizes

    assert run_ranks(3, program) == [[(2, 2, True), (1, 1, True)], [(2, 2, True)], []]


@needs_engine
def test_the_topology_names_every_rank(run_ranks: Run) -> None:
    for topology in run_ranks(2, lambda group: group.topology()):
        assert len(topology["ranks"]) == 2
