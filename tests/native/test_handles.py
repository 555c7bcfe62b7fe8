"""Operations that are started now and waited for later."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jobkit.native as dist
from jobkit.errors import BackendError
from jobkit.native.group import Group

pytest.importorskip("jobkit.native._core")

Run = Callable[..., list[Any]]


def later(group: Group, value: float, **options: Any) -> Any:
    return dist.all_sum(np.full(4, value), group=group, wait=False, **options)


@pytest.mark.parametrize("n_ranks", [2, 3])
def test_every_operation_can_be_waited_for_later(run_ranks: Run, n_ranks: int) -> None:
    def program(group: Group) -> None:
        rank, size = group.rank(), group.size()
        right, left = (rank + 1) % size, (rank - 1) % size
        x, wide = np.array([rank, 10.0]), np.arange(2 * size) + 100 * rank
        options: dict[str, Any] = {"group": group, "wait": False}
        handles = {
            "all_sum": dist.all_sum(x, **options, scale=0.5),
            "all_max": dist.all_max(x, **options),
            "all_min": dist.all_min(x, **options),
            "sum_scatter": dist.sum_scatter(wide, **options),
            "all_gather": dist.all_gather(x, **options),
            "broadcast": dist.broadcast(x, 1, **options),
            "all_to_all": dist.all_to_all(wide, **options),
            "gather": dist.gather(x, 1, **options),
            "scatter": dist.scatter(wide if rank == 1 else None, 1, **options),
            "barrier": dist.barrier(**options),
            "sendrecv": dist.sendrecv(x, right, left, **options),
        }
        found = {name: handle.wait() for name, handle in handles.items()}
        expected = {
            "all_sum": dist.all_sum(x, group=group, scale=0.5),
            "all_max": dist.all_max(x, group=group),
            "all_min": dist.all_min(x, group=group),
            "sum_scatter": dist.sum_scatter(wide, group=group),
            "all_gather": dist.all_gather(x, group=group),
            "broadcast": dist.broadcast(x, 1, group=group),
            "all_to_all": dist.all_to_all(wide, group=group),
            "gather": dist.gather(x, 1, group=group),
            "scatter": dist.scatter(wide if rank == 1 else None, 1, group=group),
            "barrier": None,
            "sendrecv": dist.sendrecv(x, right, left, group=group),
        }
        for name, result in expected.items():
            np.testing.assert_array_equal(found[name], result, err_msg=name)
            assert type(found[name]) is type(result)
            assert handles[name].done()

    run_ranks(n_ranks, program)


def test_messages_can_be_waited_for_later(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        x = np.arange(3)
        if group.rank() == 0:
            handle = dist.send(x, 1, group=group, wait=False)
            assert handle.wait() is x
            return dist.recv_like(x, 1, 5, group=group, wait=False).wait().tolist()
        got = dist.recv(3, x.dtype, 0, group=group, wait=False).wait()
        dist.send(got * 2, 0, 5, group=group, wait=False).wait()
        return got.tolist()

    assert run_ranks(2, program) == [[0, 2, 4], [0, 1, 2]]


def test_a_message_that_is_waited_for_holds_up_no_other(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        peer, x = 1 - group.rank(), np.full(3, group.rank())
        coming = dist.recv_like(x, peer, group=group, wait=False)
        dist.barrier(group=group)
        going = dist.send(x, peer, group=group, wait=False)
        second = dist.recv_like(x, peer, 7, group=group, wait=False)
        dist.send(x + 10, peer, 7, group=group)
        going.wait()
        return coming.wait().tolist(), second.wait().tolist()

    assert run_ranks(2, program) == [([1] * 3, [11] * 3), ([0] * 3, [10] * 3)]


def test_messages_with_one_tag_keep_the_order_of_their_issue(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        peer = 1 - group.rank()
        coming = [dist.recv(1, np.int64, peer, group=group, wait=False) for _ in range(20)]
        going = [dist.send(np.array([i]), peer, group=group, wait=False) for i in range(10)]
        for i in range(10, 20):
            dist.send(np.array([i]), peer, group=group)
        for each in going:
            each.wait()
        return [int(each.wait()[0]) for each in coming]

    assert run_ranks(2, program) == [list(range(20))] * 2


def test_a_large_message_passes_one_that_is_waited_for_before(run_ranks: Run) -> None:
    n_bytes = 80 << 20  # more than is kept for a rank that has not asked for it

    def program(group: Group) -> Any:
        if group.rank() == 0:
            dist.send(np.ones(n_bytes, np.uint8), 1, 1, group=group)
            return dist.send(np.zeros(2), 1, 2, group=group).tolist()
        small = dist.recv(2, np.float64, 0, 2, group=group, wait=False)
        large = dist.recv(n_bytes, np.uint8, 0, 1, group=group, wait=False)
        return small.wait().tolist(), int(large.wait().sum())

    assert run_ranks(2, program) == [[0, 0], ([0, 0], n_bytes)]


def test_handles_are_waited_for_in_any_order_and_as_often_as_wanted(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        handles = [later(group, value) for value in range(5)]
        totals = [handle.wait()[0] for handle in reversed(handles)]
        assert handles[2].wait() is handles[2].wait()
        return totals

    assert run_ranks(2, program) == [[8.0, 6.0, 4.0, 2.0, 0.0]] * 2


def test_the_result_is_of_the_kind_that_was_passed(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        out = np.zeros((2, 2), order="F")
        handles = [
            dist.all_max(b"ab", group=group, wait=False),
            dist.all_sum(np.float32(2), group=group, wait=False),
            dist.all_sum(np.ones((2, 2)), out=out, group=group, wait=False),
        ]
        text, number, total = (handle.wait() for handle in handles)
        assert total is out
        return text, type(number), out.tolist()

    assert run_ranks(2, program) == [(b"ab", np.float32, [[2, 2], [2, 2]])] * 2


def test_a_call_that_waits_comes_after_those_that_were_started(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        x = np.ones(3)
        handles = [dist.all_sum(x, out=x, group=group, wait=False) for _ in range(4)]
        total = dist.all_sum(x, group=group)
        assert all(handle.done() for handle in handles)
        part = group.split(0)
        return total.tolist(), None if part is None else part.size()

    assert run_ranks(2, program) == [([32.0] * 3, 2)] * 2


def test_a_handle_says_whether_it_is_complete(run_ranks: Run) -> None:
    arrived = threading.Event()

    def program(group: Group) -> Any:
        if group.rank() == 1:
            assert arrived.wait(30)
            return dist.barrier(group=group)
        handle = dist.barrier(group=group, wait=False)
        assert not handle.done()
        assert repr(handle) == "<jobkit.native.Handle barrier: on its way>"
        with pytest.raises(TimeoutError, match=r"barrier: not complete after 0\.01 s; it goes on"):
            handle.wait(timeout=0.01)
        arrived.set()
        assert handle.wait() is None
        assert repr(handle) == "<jobkit.native.Handle barrier: complete>"
        return None

    run_ranks(2, program)


def test_the_buffers_live_until_the_operation_is_complete_and_no_longer(run_ranks: Run) -> None:
    go = threading.Event()

    def program(group: Group) -> None:
        x = np.full(1000, group.rank() + 1.0)
        dies = weakref.ref(x)
        if group.rank() == 1:
            assert go.wait(30)
        handle = dist.all_sum(x, group=group, wait=False)
        del x
        gc.collect()
        if group.rank() == 0:
            assert dies() is not None
            go.set()
        assert (handle.wait() == 3).all()
        del handle
        dist.barrier(group=group)
        gc.collect()
        assert dies() is None

    run_ranks(2, program)


def test_a_dropped_handle_completes_anyway(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        out = np.zeros(3)
        dist.all_sum(np.ones(3), out=out, group=group, wait=False)
        gc.collect()
        dist.barrier(group=group)
        return out.tolist()

    assert run_ranks(2, program) == [[2.0] * 3] * 2


def test_the_operations_error_is_raised_by_wait_every_time(run_ranks: Run) -> None:
    def program(group: Group) -> None:
        handle = dist.all_sum(np.ones(3 + group.rank()), group=group, wait=False)
        for _ in range(2):
            with pytest.raises(
                BackendError, match=r"calls differ: rank 0 .*3 elements.* rank 1 .*4 elements"
            ):
                handle.wait()
        assert handle.done()

    run_ranks(2, program)


def test_the_error_of_a_dropped_handle_is_raised_by_the_next_call(run_ranks: Run) -> None:
    def program(group: Group) -> None:
        peer = 1 - group.rank()
        handle = dist.recv(3 + group.rank(), np.float64, peer, group=group, wait=False, timeout=0.2)
        started = time.monotonic()
        while not handle.done():
            assert time.monotonic() - started < 30
            time.sleep(0.01)
        del handle
        with pytest.raises(BackendError, match=r"recv from rank . \(.*\): waited 0\.2 s"):
            later(group, 1.0)

    run_ranks(2, program)


def test_a_wrong_argument_is_refused_before_anything_is_started(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        with pytest.raises(ValueError, match="cannot be divided"):
            dist.all_to_all(np.ones(3), group=group, wait=False)
        with pytest.raises(TypeError, match="not scaled"):
            dist.all_sum(np.ones(3, int), group=group, wait=False, scale=2.0)
        with pytest.raises(ValueError, match="timeout: not a time"):
            later(group, 1.0).wait(timeout=-1)
        return dist.all_sum(1, group=group).item()

    assert run_ranks(2, program) == [2, 2]


def test_in_a_group_of_one_a_handle_is_complete_at_once() -> None:
    x = np.ones(3)
    alone = Group(None)
    for handle in (dist.all_sum(x, group=alone, wait=False), dist.all_gather(x, group=alone, wait=False)):
        assert handle.done()
        assert handle.wait() is x
    assert dist.barrier(group=alone, wait=False).wait() is None


def test_a_call_from_another_thread_than_that_which_waits_names_both(run_ranks: Run) -> None:
    inside, outside = threading.Event(), threading.Event()

    def program(group: Group) -> Any:
        if group.rank() == 1:
            assert outside.wait(30)
            return dist.barrier(group=group)

        def other() -> None:
            inside.set()
            dist.barrier(group=group)

        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(30)
        time.sleep(0.1)
        with pytest.raises(BackendError, match="all_sum: called while barrier runs in another thread"):
            later(group, 1.0).wait()
        outside.set()
        thread.join()
        return None

    run_ranks(2, program)


def test_closing_a_group_completes_what_was_started(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        part = group.split(0)
        handles = [later(group, 1.0), later(part, 2.0)]
        group.close()
        return [handle.wait()[0] for handle in handles]

    assert run_ranks(2, program) == [[2.0, 4.0]] * 2


def test_closing_a_group_ends_what_nobody_else_calls(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        if group.rank() == 1:
            return None
        handle = dist.recv(3, np.float64, 1, group=group, wait=False)
        group.close()
        with pytest.raises(BackendError, match=r"the group was closed|left"):
            handle.wait()
        return None

    run_ranks(2, program)


def test_an_interrupt_of_wait_ends_the_operation_and_the_group(run_processes: Any) -> None:
    first, second = run_processes(
        2,
        """
        if world.rank() == 0:
            handle = dist.barrier(wait=False)
            threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
            try:
                handle.wait()
            except KeyboardInterrupt:
                print("interrupted", handle.done(), world.failure())
        else:
            try:
                dist.recv(1, float, 0)
            except BackendError as error:
                print(error)
        """,
    )
    assert first.startswith("interrupted True")
    assert "barrier #1: interrupted" in first
    assert "barrier #1: interrupted" in second


def test_an_interrupt_of_a_call_that_waits_behind_a_handle_ends_both(run_processes: Any) -> None:
    first, _ = run_processes(
        2,
        """
        if world.rank() == 0:
            handle = dist.barrier(wait=False)
            threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
            try:
                dist.all_sum(np.ones(2))
            except KeyboardInterrupt:
                print("interrupted", handle.done(), world.failure())
        else:
            try:
                dist.recv(1, float, 0)
            except BackendError as error:
                print(error)
        """,
    )
    assert first.startswith("interrupted True")
    assert "barrier #1: interrupted" in first


def test_a_child_of_fork_has_no_part_in_its_parents_handles(run_processes: Any) -> None:
    first, _ = run_processes(
        2,
        """
        import warnings
        warnings.simplefilter("ignore")  # of fork beside threads
        if world.rank() == 1:
            dist.recv(1, float, 0)
            dist.barrier()
            time.sleep(3)
            dist.send(np.ones(1), 0)
            sys.exit()
        part = [dist.send(np.ones(1), 1, wait=False)]
        part[0].wait()
        handle = dist.barrier(wait=False)
        handle.wait()
        part.append(dist.recv(1, float, 1, wait=False))
        if child := os.fork():
            print("status", os.waitpid(child, 0)[1], part[1].wait())
            sys.exit()
        calls = (part[1].wait, lambda: dist.barrier(wait=False), lambda: dist.all_sum(np.ones(2)))
        for call in calls:
            try:
                call()
            except BackendError as error:
                print("process" in str(error), flush=True)
        part.clear()
        world.close()
        del world
        os._exit(0)
        """,
    )
    assert first == "True\nTrue\nTrue\nstatus 0 [1.]\n"


def test_a_program_ends_although_nobody_waits_for_its_handles(run_processes: Any) -> None:
    found = run_processes(
        2,
        """
        out = np.zeros(2)
        kept = dist.all_sum(np.ones(2), out=out, wait=False)
        part = world.split(0)
        dist.all_sum(np.ones(2), group=part, wait=False)
        if world.rank() == 0:
            never = dist.recv(1, float, 1, wait=False)
        print("end")
        """,
    )
    assert found == ["end\n", "end\n"]


def test_memory_of_many_dropped_handles_does_not_grow(run_ranks: Run) -> None:
    def program(group: Group) -> int:
        born: list[weakref.ref[Any]] = []
        for _ in range(200):
            x = np.ones(10)
            born.append(weakref.ref(x))
            dist.all_sum(x, group=group, wait=False)
            del x
            if len(born) % 20 == 0:
                dist.barrier(group=group)
        gc.collect()
        return sum(ref() is not None for ref in born)

    assert run_ranks(2, program) == [0, 0]


def test_an_array_of_mlx_is_evaluated_meanwhile(run_processes: Any) -> None:
    pytest.importorskip("mlx.core")
    found = run_processes(
        2,
        """
        import mlx.core as mx
        x = mx.ones(3)
        handles = [dist.all_sum(x, wait=False), dist.all_gather(x * 2, wait=False)]
        handles.append(dist.all_sum(np.ones(1), wait=False))
        try:
            handles[0].wait(timeout=1)
        except ValueError as error:
            print(error)
        print([handle.wait().tolist() for handle in handles], handles[0].done())
        """,
    )
    results = "[[2.0, 2.0, 2.0], [2.0, 2.0, 2.0, 2.0, 2.0, 2.0], [2.0]] True"
    for output in found:
        first, last = output.splitlines()[0], output.splitlines()[-1]
        assert first.startswith("timeout: MLX waits for its arrays without a limit, got 1.0")
        assert last == results
