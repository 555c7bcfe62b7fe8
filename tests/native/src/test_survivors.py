"""The survivors of a failure form a group of their own, over the connections that they have."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobkit.native import _core

SUM = 0
FLOAT32 = 11
MODES = ["gang", "hostfile"]
Threads = Callable[..., list[Any]]
Processes = Callable[..., Any]


def total(group: Any, count: int = 1000, **options: Any) -> float:
    data = np.ones(count, np.float32)
    group.all_reduce(SUM, data, data, count, FLOAT32, **options)
    return float(data[-1])


def error_of(call: Callable[[], object]) -> str:
    with pytest.raises(_core.Error) as caught:
        call()
    return str(caught.value)


def n_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def go_on_without_the_dead(group: Any, pipe: Any) -> Any:
    total(group)
    pipe.send(os.getpid())
    if group.rank == 1:
        time.sleep(60)
    try:
        total(group)
    except _core.Error:
        pass
    else:
        return "no error"
    before = n_descriptors()
    rest = group.shrink()
    sums = [total(rest, count) for count in (1, 100_000)]
    half = rest.split(rest.rank % 2)
    closed = error_of(lambda: total(group))
    return rest.rank, rest.size, sums, total(half), closed, n_descriptors() <= before


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_those_that_are_left_go_on_without_the_rank_that_died_or_hangs(
    processes: Processes, number: int, mode: str
) -> None:
    ranks = processes(4, go_on_without_the_dead, mode=mode, heartbeat_s=0.2)
    for rank in range(4):
        ranks.receive(rank)

    ranks.signal(1, number)

    for new, old in enumerate((0, 2, 3)):
        rank, size, sums, half, closed, no_new = ranks.receive(old)
        assert (rank, size, sums, half) == (new, 3, [3.0, 3.0], 2.0 if new != 1 else 1.0)
        assert "all_sum" in closed
        assert no_new


def test_a_group_that_failed_with_all_alive_starts_anew_with_all(threads: Threads) -> None:
    def program(group: Any) -> Any:
        error_of(lambda: total(group, 3 if group.rank == 1 else 4))
        rest = group.shrink()
        return rest.size, total(rest)

    assert threads(3, program) == [(3, 3.0)] * 3


def test_survivors_may_fail_and_shrink_again_and_again(threads: Threads) -> None:
    def program(group: Any) -> Any:
        sizes = []
        for leaver in (3, 2, 1):
            if group.rank == leaver:
                return sizes
            error_of(lambda: total(group, timeout_s=0.5) if group.rank == 0 else total(group))  # noqa: B023
            group = group.shrink(timeout_s=20.0)
            sizes.append((group.size, total(group)))
        return sizes

    everybody = [(3, 3.0), (2, 2.0), (1, 1.0)]
    assert threads(4, program) == [everybody, everybody[:2], everybody[:1], []]


def test_other_groups_of_the_survivors_stay_as_they_were(threads: Threads) -> None:
    """The pair that had nothing to do with the failure goes on; the one that shrinks does not disturb it."""

    def program(group: Any) -> Any:
        pair = group.split(group.rank // 2)
        if group.rank < 2:
            error_of(lambda: total(pair, 1 + group.rank))
            pair = pair.shrink()
        else:
            time.sleep(0.5)
        return total(pair), "calls differ" in error_of(lambda: total(group))

    assert threads(4, program) == [(2.0, True)] * 4


def test_a_rank_that_does_not_come_is_left_out_at_the_deadline_and_told_when_it_comes(
    threads: Threads,
) -> None:
    late, met = threading.Event(), threading.Barrier(3)

    def program(group: Any) -> Any:
        met.wait(30)
        if group.rank == 2:
            assert late.wait(30)
            return error_of(group.shrink)
        group.abort("for a test")
        rest = group.shrink(timeout_s=0.5)
        late.set()
        result = rest.size, total(rest)
        rest.barrier()
        time.sleep(1)
        return result

    first, second, third = threads(3, program)
    assert first == second == (2, 2.0)
    assert "shrink: the others have gone on without this rank" in third


def test_a_failure_of_the_new_group_is_one_of_all_its_members(threads: Threads) -> None:
    met = threading.Barrier(3)

    def program(group: Any) -> str:
        met.wait(30)
        group.abort("first")
        rest = group.shrink()
        total(rest)
        met.wait(30)
        if rest.rank == 0:
            rest.abort("second")
        return error_of(lambda: [total(rest) for _ in range(1000)])

    for text in threads(3, program):
        assert "aborted: second" in text


def test_a_closed_group_cannot_shrink(threads: Threads) -> None:
    def program(group: Any) -> str:
        group.barrier()
        group.close()
        return error_of(group.shrink)

    for text in threads(2, program):
        assert text.endswith("shrink: the group is closed")
