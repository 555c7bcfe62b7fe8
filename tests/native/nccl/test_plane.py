"""What becomes of an operation on device arrays that fails, hangs, differs or is not waited for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., list[str]]

X = "x = to_device(np.full(5, world.rank() + 1.0, np.float32))\n"


@pytest.mark.parametrize(
    ("name", "kind", "value", "told"),
    [
        ("ncclAllReduce", "RETURN", 2, "NCCL: ncclAllReduce: unhandled system error (the stand-in"),
        ("ncclAllReduce", "ASYNC", 6, "remote process exited or there was a network error (the stand-in"),
        ("cuEventQuery", "RETURN", 700, "CUDA: an operation on the device failed: an illegal memory access"),
        ("cuEventRecord", "RETURN", 1, "CUDA: cuEventRecord: invalid argument (1)"),
        ("ncclCommGetAsyncError", "RETURN", 3, "NCCL: an operation failed: internal error"),
    ],
)
def test_a_failure_on_one_rank_raises_on_all_and_ends_the_operations(
    run_nccl: Run, name: str, kind: str, value: int, told: str
) -> None:
    source = f"""
        {X}
        dist.all_sum(x)
        dist.barrier()
        if world.rank() == 1:
            fault("{name}", {kind}, {value})
            if "{name}" != "ncclAllReduce":  # else the others have all that they need
                fault("ncclAllReduce", HANG)
        print(error_of(dist.all_sum, x))
        print(error_of(dist.all_sum, x))
        print(error_of(dist.all_sum, np.ones(3)))
        print(count("ncclCommAbort"), count("ncclCommDestroy"))
    """
    for output in run_nccl(3, source):
        first, second, third, ended = output.splitlines()
        assert told in first
        assert "the group has failed" in second
        assert told in second
        assert told in third
        assert ended == "1 0"


def test_an_operation_that_hangs_ends_at_its_deadline_on_every_rank(run_nccl: Run) -> None:
    source = f"""
        {X}
        if world.rank() == 0:
            fault("ncclAllReduce", HANG)
        print(error_of(dist.all_sum, x, timeout=1.0))
        print(count("ncclCommAbort"))
    """
    for output in run_nccl(2, source):
        assert "all_sum: waited 1.0 s for its data, and all ranks have called it" in output
        assert output.endswith("\n1\n")


def test_an_operation_that_hangs_has_the_time_of_the_group_otherwise(run_nccl: Run) -> None:
    source = f"""
        {X}
        if world.rank() == 0:
            fault("ncclAllReduce", HANG)
        print(error_of(dist.all_sum, x))
    """
    for output in run_nccl(2, source, JOBKIT_TIMEOUT_S="1"):
        assert "waited 1.0 s" in output


def test_a_rank_that_dies_is_named_while_others_wait_for_its_data(run_nccl: Run) -> None:
    source = f"""
        {X}
        dist.all_sum(x)
        if world.rank() == 1:
            os.kill(os.getpid(), 9)
        print(error_of(dist.all_sum, x))
        print(count("ncclCommAbort"))
    """
    for output in (run_nccl(3, source, status={1: -9})[rank] for rank in (0, 2)):
        assert "rank 1" in output
        assert output.endswith("\n1\n")


def test_calls_that_differ_raise_on_every_rank(run_nccl: Run) -> None:
    source = """
        def twice():
            dist.all_sum(to_device(np.ones(5 + world.rank(), np.float32)))
            dist.barrier()  # the rank with fewer elements may have all that it needs

        print(error_of(twice))
    """
    for output in run_nccl(2, source):
        assert "called all_sum(float32, 5 elements, on a device)" in output
        assert "called all_sum(float32, 6 elements, on a device)" in output


def test_a_device_array_here_and_one_in_memory_there_raise_on_every_rank(run_nccl: Run) -> None:
    source = """
        x = np.ones(5, np.float32)
        print(error_of(dist.all_sum, to_device(x) if world.rank() == 0 else x))
    """
    for output in run_nccl(2, source):
        assert "called all_sum(float32, 5 elements, on a device), rank 1" in output


def test_with_checks_on_nothing_that_differs_is_sent(run_nccl: Run) -> None:
    source = """
        x = to_device(np.ones(5 + world.rank(), np.float32))
        error_of(dist.all_sum, x)
        print(count("ncclAllReduce"))
    """
    assert run_nccl(2, source, JOBKIT_CHECK="1") == ["0\n"] * 2


def test_an_interrupt_ends_the_group_on_every_rank(run_nccl: Run) -> None:
    source = f"""
        import signal
        {X}
        if world.rank() == 0:
            fault("ncclAllReduce", HANG)
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            dist.all_sum(x)
        except (KeyboardInterrupt, BackendError) as error:
            print(type(error).__name__, error)
        print(error_of(dist.all_sum, x))
    """
    first, second = run_nccl(2, source)
    assert first.startswith("KeyboardInterrupt")
    assert "KeyboardInterrupt" in second
    assert second.startswith("Error [ring] rank 1 of 2: all_sum #")


def test_handles_complete_in_any_order_and_keep_their_arrays(run_nccl: Run) -> None:
    source = """
        handles = [
            dist.all_sum(to_device(np.full(1000, world.rank() + i, np.float32)), wait=False)
            for i in range(20)
        ]
        for i, handle in reversed(list(enumerate(handles))):
            assert (to_host(handle.wait()) == 1 + 2 * i).all(), i
            assert handle.done()
        later = dist.all_gather(to_device(np.ones(1)), wait=False)
        assert to_host(dist.all_sum(to_device(np.ones(1)))).tolist() == [2]
        assert later.done()
        print("done")
    """
    assert run_nccl(2, source) == ["done\n"] * 2


def test_a_handle_can_be_waited_for_in_vain_and_again(run_nccl: Run) -> None:
    source = """
        standin.standin_delay.argtypes = (ctypes.c_void_p, ctypes.c_int)
        standin.standin_delay(world.devices.stream, 2000)
        handle = dist.all_sum(to_device(np.ones(3)), wait=False)
        try:
            handle.wait(0.01)
        except TimeoutError as error:
            print(error)
        print(handle.done(), to_host(handle.wait()).tolist())
    """
    expected = "all_sum: not complete after 0.01 s; it goes on\nFalse [2.0, 2.0, 2.0]\n"
    assert run_nccl(2, source) == [expected] * 2


def test_an_operation_that_nobody_waits_for_is_watched(run_nccl: Run) -> None:
    source = f"""
        {X}
        if world.rank() == 0:
            fault("ncclAllReduce", ASYNC, 6)
        handle = dist.all_sum(x, wait=False)
        deadline = time.monotonic() + 60
        while count("ncclCommAbort") == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        print(count("ncclCommAbort"), handle.done())
        print(error_of(handle.wait))
        del handle
        print(error_of(dist.all_gather, x))
    """
    for output in run_nccl(2, source):
        assert output.startswith("1 True\n")
        assert output.count("remote process exited") == 2


def test_after_a_failure_the_survivors_go_on_in_a_group_of_their_own(run_nccl: Run) -> None:
    source = f"""
        {X}
        if world.rank() == 1:
            os._exit(3)
        error_of(dist.all_sum, x)
        rest = world.shrink(timeout=20)
        print(rest.size(), to_host(dist.all_sum(x, group=rest)).tolist())
    """
    outputs = run_nccl(3, source, status={1: 3})
    assert [outputs[0], outputs[2]] == ["2 [4.0, 4.0, 4.0, 4.0, 4.0]\n"] * 2


def test_after_a_failure_a_program_may_start_anew(run_nccl: Run) -> None:
    source = f"""
        {X}
        if world.rank() == 0:
            fault("ncclAllReduce", RETURN, 5)
        error_of(dist.all_sum, x)
        dist.shutdown()
        world = dist.init(backend="nccl", strict=True)
        print(to_host(dist.all_sum(x)).tolist())
    """
    assert run_nccl(2, source) == ["[3.0, 3.0, 3.0, 3.0, 3.0]\n"] * 2


def test_an_end_that_takes_too_long_is_an_abort(run_nccl: Run) -> None:
    source = f"""
        {X}
        dist.all_sum(x)
        fault("ncclCommFinalize", PROGRESS)
        dist.shutdown()
        print(count("ncclCommAbort"), count("ncclCommDestroy"))
    """
    assert run_nccl(2, source) == ["1 0\n"] * 2


def test_an_abort_that_hangs_hangs_nothing_else(run_nccl: Run) -> None:
    source = f"""
        {X}
        fault("ncclCommAbort", STUCK)
        fault("ncclAllReduce", RETURN, 5)
        print(error_of(dist.all_sum, x))
    """
    for output in run_nccl(2, source):
        assert "invalid usage" in output


def test_groups_that_are_split_have_communicators_of_their_own(run_nccl: Run) -> None:
    source = f"""
        {X}
        part = world.split(world.rank() % 2)
        print(to_host(dist.all_sum(x, group=part)).tolist()[0], part.backend)
        swapped = world.split(0, key=-world.rank() + 10)
        print(to_host(dist.all_gather(x[:0] if False else x, group=swapped)).tolist()[::5])
        nobody = world.split(None if world.rank() == 0 else 0)
        print(nobody if world.rank() == 0 else to_host(dist.all_sum(x, group=nobody)).tolist()[0])
        alone = world.split(world.rank())
        print(dist.all_sum(x, group=alone) is x, alone.size())
        dist.barrier()
    """
    outputs = run_nccl(4, source)
    for rank, output in enumerate(outputs):
        first, second, third, fourth = output.splitlines()
        assert first == f"{4.0 if rank % 2 == 0 else 6.0} nccl"
        assert second == "[4.0, 3.0, 2.0, 1.0]"
        assert third == ("None" if rank == 0 else "9.0")
        assert fourth == "True 1"


def test_a_group_serves_one_thread_at_a_time(run_nccl: Run) -> None:
    source = f"""
        {X}
        fault("ncclAllReduce", HANG)
        failed = []
        thread = threading.Thread(target=lambda: failed.append(error_of(dist.all_sum, x, timeout=2.0)))
        thread.start()
        while count("ncclAllReduce") == 0:
            time.sleep(0.01)
        print(error_of(dist.all_gather, x))
        thread.join()
        print(failed[0])
    """
    for output in run_nccl(2, source):
        assert output.startswith("all_gather: called while all_sum runs in another thread")
        assert "waited 2.0 s" in output


def test_both_planes_serve_one_group_in_turn(run_nccl: Run) -> None:
    source = f"""
        {X}
        for i in range(50):
            assert dist.all_sum(np.ones(3)).tolist() == [2, 2, 2]
            later = dist.all_sum(x, wait=False)
            assert dist.all_gather(np.array([world.rank()])).tolist() == [0, 1]
            assert to_host(later.wait()).tolist() == [3] * 5
        dist.barrier()
        print(dist.all_gather_object({{"rank": world.rank()}}) if world.is_authenticated else "open")
    """
    assert run_nccl(2, source) == ["open\n"] * 2


def test_no_memory_of_the_device_is_left(run_nccl: Run) -> None:
    source = """
        import gc
        standin.standin_bytes.restype = ctypes.c_size_t
        x = to_device(np.ones(100_000))
        for _ in range(5):
            dist.all_sum(x), dist.all_to_all(x, out=x), dist.all_sum(x, wait=False).wait()
        x = None
        gc.collect()
        print(standin.standin_bytes())
    """
    assert run_nccl(2, source) == ["0\n"] * 2
