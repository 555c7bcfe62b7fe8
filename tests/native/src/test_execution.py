"""Steps go on as far as what they take in is there, and what waits for one rank holds up nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

SUM = 0
UINT8, FLOAT32 = 1, 11
SHARED = [False, True]
Threads = Callable[..., list[Any]]


@pytest.mark.parametrize("shared", SHARED)
def test_a_message_gets_past_a_sum_that_waits_for_a_third_rank(threads: Threads, shared: bool) -> None:
    """Rank 1 fills the window of rank 0 until rank 2 comes, and rank 2 waits for the message."""
    count = 1 << 20
    told = threading.Event()

    def program(group: Any) -> None:
        pair = group.split(0 if group.rank < 2 else None)
        data = np.ones(count, np.float32)
        if group.rank == 2:
            told.wait(30)
        summing = threading.Thread(target=group.all_reduce, args=(SUM, data, data, count, FLOAT32))
        summing.start()
        word = np.zeros(1, np.float32)
        if group.rank == 0:
            pair.recv(word, 1, FLOAT32, 1, 0)
            assert word[0] == 5
            told.set()
        elif group.rank == 1:
            time.sleep(0.3)
            pair.send(np.full(1, 5, np.float32), 1, FLOAT32, 0, 0)
        summing.join(30)
        assert (data == 3).all()

    threads(3, program, shared_memory=shared)
    assert told.is_set()


@pytest.mark.parametrize("per_rank", [1, 3])
def test_windows_slide_over_large_messages(threads: Threads, per_rank: int) -> None:
    """Odd sizes, so that nothing ends where a window or a frame does."""
    count = (5 << 20) + 13

    def program(group: Any) -> None:
        data = (np.arange(count) % 89 + group.rank).astype(np.float32)
        out = np.empty_like(data)
        group.all_reduce(SUM, data, out, count, FLOAT32)
        np.testing.assert_array_equal(2 * (np.arange(count) % 89) + 1, out)
        group.all_reduce(SUM, data, data, count, FLOAT32)
        np.testing.assert_array_equal(out, data)

    threads(2, program, mode="hostfile", per_rank=per_rank, shared_memory=False)


@pytest.mark.parametrize("shared", SHARED)
def test_a_rank_that_comes_late_finds_everything_in_place(threads: Threads, shared: bool) -> None:
    """Long enough that what the others sent meanwhile was put aside."""
    count = 3 << 20

    def program(group: Any) -> None:
        data = (np.arange(count) % 1013 + group.rank).astype(np.float32)
        if group.rank == 2:
            time.sleep(0.4)
        group.all_reduce(SUM, data, data, count, FLOAT32)
        np.testing.assert_array_equal(4 * (np.arange(count) % 1013) + 6, data)

    threads(4, program, shared_memory=shared)


def test_a_call_of_the_same_kind_begins_afresh(threads: Threads) -> None:
    """A kept plan remembers nothing of the call before."""

    def program(group: Any) -> None:
        for i in range(200):
            data, out = np.full(3000, i, np.float32), np.zeros(3000, np.float32)
            group.all_reduce(SUM, data, out, 3000, FLOAT32)
            assert (out == 3 * i).all()

    threads(3, program)


@pytest.mark.slow
def test_more_than_four_gibibytes_are_summed_in_place(threads: Threads) -> None:
    count = (4 << 30) + 3

    def program(group: Any) -> None:
        data = np.full(count, 1 + group.rank, np.uint8)
        data[-1] = 7
        group.all_reduce(SUM, data, data, count, UINT8)
        assert data[-1] == 14
        assert all((data[at : at + (64 << 20)] == 3).all() for at in range(0, count - 3, 64 << 20))

    threads(2, program)


@pytest.mark.parametrize("shared", SHARED)
def test_a_thread_that_waits_leaves_the_sums_of_another_alone(threads: Threads, shared: bool) -> None:
    """What one thread adds up may not be put aside by one for which nothing has moved."""
    count = 200_000

    def program(group: Any) -> None:
        quiet, word = group.split(0), np.zeros(1, np.float32)

        def wait_for_a_word() -> None:
            if group.rank == 0:
                quiet.recv(word, 1, FLOAT32, 1, 0)

        waiting = threading.Thread(target=wait_for_a_word)
        waiting.start()
        data = (np.arange(count) % 911).astype(np.float32)
        out, more = np.empty_like(data), np.ones(1, np.float32)
        until = time.monotonic() + 1.0
        while more[0]:
            group.all_reduce(SUM, data, out, count, FLOAT32)
            np.testing.assert_array_equal(2 * data, out)
            more[0] = time.monotonic() < until
            group.broadcast(more, 1, FLOAT32, 0)
        if group.rank == 1:
            quiet.send(word, 1, FLOAT32, 0, 0)
        waiting.join(30)
        assert not waiting.is_alive()

    threads(2, program, shared_memory=shared)
