"""The engine's operations on bare buffers, N ranks as threads of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest

from jobkit.native import _core

SUM, MAX, MIN = 0, 1, 2
UINT8, INT32, INT64, FLOAT16, FLOAT32, FLOAT64 = 1, 7, 8, 9, 11, 12
MODES = ["gang", "hostfile"]
Threads = Callable[..., list[Any]]


def pattern(rank: int, count: int) -> np.ndarray[Any, Any]:
    """Return small integers as float32: every sum of them is exact, whatever its order."""
    return ((np.arange(count) * 7 + rank * 3) % 101).astype(np.float32)


def test_a_call_can_be_repeated_without_python(threads: Threads) -> None:
    def program(group: Any) -> list[float]:
        x = np.ones(3, np.float32)
        assert group.repeat_all_reduce(SUM, x, x, 3, FLOAT32, 5) > 0
        return x.tolist()

    assert threads(2, program) == [[32.0] * 3] * 2


def every_operation(count: int) -> Callable[[Any], None]:
    """Return a program that calls all of them on `count` elements and checks what comes out."""

    def program(group: Any) -> None:
        n, r = group.size, group.rank
        own = pattern(r, count)
        blocks = np.concatenate([pattern(p, count) for p in range(n)])
        total = blocks.reshape(n, count).sum(axis=0)
        out = np.full(count, np.nan, np.float32)
        wide = np.full(n * count, np.nan, np.float32)

        group.all_reduce(SUM, own, out, count, FLOAT32)
        np.testing.assert_array_equal(total, out)
        group.all_reduce(MAX, own, out, count, FLOAT32)
        np.testing.assert_array_equal(blocks.reshape(n, count).max(axis=0), out)
        group.all_reduce(MIN, own, out, count, FLOAT32)
        np.testing.assert_array_equal(blocks.reshape(n, count).min(axis=0), out)
        group.all_reduce(SUM, own, out, count, FLOAT32, scale=0.5)
        np.testing.assert_array_equal(total / 2, out)
        in_place = own.copy()
        group.all_reduce(SUM, in_place, in_place, count, FLOAT32)
        np.testing.assert_array_equal(total, in_place)

        group.all_gather(own, wide, count, FLOAT32)
        np.testing.assert_array_equal(blocks, wide)
        group.reduce_scatter(SUM, blocks, out, count, FLOAT32)
        np.testing.assert_array_equal(n * pattern(r, count), out)
        for root in {0, n - 1, n // 2}:
            data = own.copy() if r == root else np.zeros(count, np.float32)
            group.broadcast(data, count, FLOAT32, root)
            np.testing.assert_array_equal(pattern(root, count), data)
            group.gather(own, wide if r == root else None, count, FLOAT32, root)
            if r == root:
                np.testing.assert_array_equal(blocks, wide)
            group.scatter(blocks if r == root else None, out, count, FLOAT32, root)
            np.testing.assert_array_equal(own, out)
        sent = np.concatenate([pattern(r * n + p, count) for p in range(n)])
        wanted = np.concatenate([pattern(p * n + r, count) for p in range(n)])
        group.all_to_all(sent, wide, count, FLOAT32)
        np.testing.assert_array_equal(wanted, wide)
        group.all_to_all(sent, sent, count, FLOAT32)
        np.testing.assert_array_equal(wanted, sent)
        group.barrier()

    return program


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8])
def test_every_operation_works_for_every_group_size(threads: Threads, n: int, mode: str) -> None:
    def program(group: Any) -> None:
        for count in (0, 1, 2, 7, 1024):
            every_operation(count)(group)

    threads(n, program, mode=mode)


@pytest.mark.parametrize("n", [2, 3])
def test_large_arrays_go_through_every_operation(threads: Threads, n: int) -> None:
    threads(n, every_operation((1 << 20) + 3))


def test_parallel_connections_carry_one_message_in_parts(threads: Threads) -> None:
    def program(group: Any) -> Any:
        every_operation(300_001)(group)
        return group.topology()["connections"]

    assert threads(2, program, mode="hostfile", per_rank=3, shared_memory=False) == [[0, 3], [3, 0]]


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", "float64", "complex64"])
def test_all_dtypes_are_carried(threads: Threads, dtype: str) -> None:
    codes = {"bool": 0, "int8": 5, "uint16": 2, "int64": 8, "float16": 9, "float64": 12, "complex64": 13}

    def program(group: Any) -> Any:
        data = (np.arange(1000) % 5 + group.rank).astype(dtype)
        out = np.empty_like(data)
        group.all_reduce(SUM, data, out, data.size, codes[dtype])
        return out

    expected = reduce(np.add, [(np.arange(1000) % 5 + rank).astype(dtype) for rank in range(3)])
    for out in threads(3, program):
        np.testing.assert_array_equal(expected, out)


def test_all_ranks_get_the_same_bits(threads: Threads) -> None:
    def program(group: Any) -> list[bytes]:
        results = []
        for count in (1, 100, 70_000):
            data = np.random.default_rng(group.rank).standard_normal(count).astype(np.float32)
            out = np.empty_like(data)
            group.all_reduce(SUM, data, out, count, FLOAT32)
            results.append(out.tobytes())
        return results

    first, *others = threads(5, program)
    assert all(other == first for other in others)


def test_small_and_large_messages_are_summed_in_the_same_order(threads: Threads) -> None:
    """One-shot and two-shot give the same bits, so that a size at their border is no surprise."""

    def program(group: Any) -> bool:
        data = np.random.default_rng(group.rank).standard_normal(100_000).astype(np.float32)
        whole, part = np.empty_like(data), np.empty(100, np.float32)
        group.all_reduce(SUM, data, whole, data.size, FLOAT32)
        group.all_reduce(SUM, data[:100].copy(), part, 100, FLOAT32)
        return whole[:100].tobytes() == part.tobytes()

    assert all(threads(3, program))


def test_messages_are_matched_by_tag_and_not_by_order(threads: Threads) -> None:
    def program(group: Any) -> Any:
        if group.rank == 0:
            for tag in (1, 2, 3):
                group.send(np.array([tag], np.int64), 1, INT64, 1, tag)
            return None
        got = []
        for tag in (3, 1, 2):
            data = np.zeros(1, np.int64)
            group.recv(data, 1, INT64, 0, tag)
            got.append(int(data[0]))
        return got

    assert threads(2, program)[1] == [3, 1, 2]


def test_messages_with_one_tag_stay_in_order(threads: Threads) -> None:
    def program(group: Any) -> Any:
        data = np.zeros(1, np.int64)
        if group.rank == 0:
            for i in range(200):
                data[0] = i
                group.send(data, 1, INT64, 1, 0)
            return None
        got = []
        for _ in range(200):
            group.recv(data, 1, INT64, 0, 0)
            got.append(int(data[0]))
        return got

    assert threads(2, program)[1] == list(range(200))


def test_any_pair_may_exchange_large_messages_at_once(threads: Threads) -> None:
    count = 1 << 20

    def program(group: Any) -> None:
        n, r = group.size, group.rank
        for hop in range(1, n):
            to, source = (r + hop) % n, (r - hop) % n
            mine, theirs = np.full(count, r, np.float32), np.empty(count, np.float32)
            group.sendrecv(mine, count, to, theirs, count, source, FLOAT32, hop)
            assert (theirs == source).all()

    threads(4, program)


def test_a_message_that_comes_early_waits_while_others_pass(threads: Threads) -> None:
    """Rank 1 asks for the second message first: the first, of 3 MiB, is kept for it."""
    count = 3 << 20

    def program(group: Any) -> None:
        big, small = np.full(count, 7, np.uint8), np.full(1, 9, np.uint8)
        if group.rank == 0:
            group.send(big, count, UINT8, 1, 1)
            group.send(small, 1, UINT8, 1, 2)
        else:
            big[:], small[:] = 0, 0
            group.recv(small, 1, UINT8, 0, 2)
            group.recv(big, count, UINT8, 0, 1)
            assert small[0] == 9
            assert (big == 7).all()

    threads(2, program)


def test_collectives_and_messages_do_not_disturb_each_other(threads: Threads) -> None:
    def program(group: Any) -> None:
        data, out = np.ones(10, np.float32), np.empty(10, np.float32)
        for i in range(50):
            if group.rank == 0:
                group.send(np.full(10, i, np.float32), 10, FLOAT32, 2, 4)
            group.all_reduce(SUM, data, out, 10, FLOAT32)
            assert (out == 3).all()
            if group.rank == 2:
                group.recv(out, 10, FLOAT32, 0, 4)
                assert (out == i).all()

    threads(3, program)


def test_split_makes_groups_by_color_in_the_order_of_keys(threads: Threads) -> None:
    def program(group: Any) -> Any:
        half = group.split(group.rank % 2, -group.rank + 10)
        whole = group.split(0)
        none = group.split(None if group.rank == 0 else 0)
        every_operation(33)(half)
        every_operation(33)(whole)
        return half.rank, half.size, whole.rank, None if none is None else none.rank

    assert threads(5, program) == [(2, 3, 0, None), (1, 2, 1, 0), (1, 3, 2, 1), (0, 2, 3, 2), (0, 3, 4, 3)]


def test_a_split_group_may_be_split_again(threads: Threads) -> None:
    def program(group: Any) -> Any:
        pair = group.split(group.rank // 2)
        one = pair.split(pair.rank)
        every_operation(5)(pair)
        every_operation(5)(one)
        return pair.size, one.size

    assert threads(4, program) == [(2, 1)] * 4


def test_different_groups_run_in_parallel_threads(threads: Threads) -> None:
    def program(group: Any) -> None:
        groups = [group, group.split(0), group.split(0)]
        errors: list[BaseException] = []

        def use(one: Any, seed: int) -> None:
            try:
                for i in range(30):
                    data = np.full(20_000, seed + i, np.float32)
                    one.all_reduce(SUM, data, data, data.size, FLOAT32)
                    assert (data == 3 * (seed + i)).all()
            except BaseException as error:  # noqa: BLE001 - raised below
                errors.append(error)

        users = [threading.Thread(target=use, args=(one, 100 * i)) for i, one in enumerate(groups)]
        for user in users:
            user.start()
        for user in users:
            user.join()
        if errors:
            raise errors[0]

    threads(3, program)


def test_one_group_in_two_threads_is_refused_and_goes_on(threads: Threads) -> None:
    def program(group: Any) -> str:
        waiting, said = threading.Event(), []
        data = np.ones(1, np.float32)

        def wait_for_the_other() -> None:
            waiting.set()
            group.recv(data, 1, FLOAT32, 1 - group.rank, 0)

        if group.rank == 1:
            time.sleep(0.3)
            group.send(data, 1, FLOAT32, 0, 0)
        else:
            other = threading.Thread(target=wait_for_the_other)
            other.start()
            waiting.wait()
            time.sleep(0.1)
            with pytest.raises(RuntimeError) as caught:
                group.barrier()
            said.append(str(caught.value))
            other.join()
        group.barrier()
        return "".join(said)

    assert "barrier: called while recv runs in another thread" in threads(2, program)[0]


def test_a_group_of_one_needs_no_network(connect_rank: Callable[..., Any]) -> None:
    group = connect_rank(0, [["127.0.0.1:1"]])

    every_operation(7)(group)
    assert group.split(3).size == 1
    with pytest.raises(ValueError, match="rank 0, expected another rank of the group's 1"):
        group.send(np.ones(1, np.float32), 1, FLOAT32, 0)


def test_arguments_that_no_rank_could_use_are_value_errors(threads: Threads) -> None:
    def program(group: Any) -> None:
        data = np.ones(4, np.float32)
        calls: tuple[Callable[[], object], ...] = (
            lambda: group.all_reduce(SUM, data, data, 5, FLOAT32),
            lambda: group.all_reduce(9, data, data, 4, FLOAT32),
            lambda: group.all_reduce(SUM, data, data, 4, 14),
            lambda: group.all_gather(data, data, 4, FLOAT32),
            lambda: group.all_to_all(data, data, 1 << 63, FLOAT32),
            lambda: group.broadcast(data, 4, FLOAT32, 2),
            lambda: group.send(data, 4, FLOAT32, group.rank),
            lambda: group.send(data, 4, FLOAT32, 2),
            lambda: group.send(data, 4, FLOAT32, 1 - group.rank, -1),
            lambda: group.split(-1),
        )
        for wrong in calls:
            with pytest.raises(ValueError, match=" "):
                wrong()
        with pytest.raises((ValueError, BufferError), match=" "):
            group.all_reduce(SUM, data, b"1234567812345678", 4, FLOAT32)
        with pytest.raises(TypeError):
            group.all_reduce(SUM, [1.0], data, 1, FLOAT32)
        group.barrier()

    threads(2, program)


def test_read_only_buffers_may_be_sent(threads: Threads) -> None:
    def program(group: Any) -> bytes:
        out = bytearray(8)
        group.all_gather(bytes([group.rank] * 4), out, 4, UINT8)
        return bytes(out)

    assert threads(2, program) == [b"\0\0\0\0\1\1\1\1"] * 2


@pytest.mark.parametrize(("shared_memory", "reach"), [(True, "shm"), (False, "direct")])
def test_topology_tells_who_is_where(threads: Threads, shared_memory: bool, reach: str) -> None:
    options = {"mode": "hostfile", "shared_memory": shared_memory}
    for topology in threads(3, lambda group: group.topology(), **options):
        assert topology["kind"] == "direct"
        assert [each["rank"] for each in topology["ranks"]] == [0, 1, 2]
        assert len({each["node"] for each in topology["ranks"]}) == 1
        assert topology["matrix"][0] == ["self", reach, reach]


def test_some_ranks_make_a_group_without_asking_the_others(threads: Threads) -> None:
    def program(group: Any) -> Any:
        if group.rank == 1:
            return None
        part = group.among([2, 0], "outer")
        out = np.empty(2, np.int32)
        part.all_gather(np.array([group.rank], np.int32), out, 1, INT32)
        again = group.among([2, 0], "another name")
        again.barrier()
        return part.rank, part.size, out.tolist()

    assert threads(3, program) == [(1, 2, [2, 0]), None, (0, 2, [2, 0])]


def test_a_group_is_made_of_ranks_that_there_are_by_one_of_them(threads: Threads) -> None:
    def program(group: Any) -> None:
        for ranks in ([0, 2], [-1, group.rank], [1 - group.rank]):
            with pytest.raises(ValueError, match="among: "):
                group.among(ranks, "wrong")
        group.barrier()

    threads(2, program)


def test_reduce_and_reduce_all_are_the_engine_s_own() -> None:
    left, right, out = np.arange(5, dtype=np.int32), np.full(5, 2, np.int32), np.empty(5, np.int32)

    _core.reduce(MAX, INT32, left, right, out, 5)
    assert out.tolist() == [2, 2, 2, 3, 4]
    _core.reduce_all(SUM, INT32, [left, right, left], out, 5)
    assert out.tolist() == [2, 4, 6, 8, 10]


@pytest.mark.slow
def test_sixteen_ranks_on_few_cores_finish(threads: Threads) -> None:
    threads(16, every_operation(1000))
