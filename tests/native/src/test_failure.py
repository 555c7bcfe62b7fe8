"""What goes wrong on one rank is an error with the same words on every rank, and never a hang."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jobkit.native import _core

SUM, MAX = 0, 1
FLOAT32, FLOAT64 = 11, 12
MODES = ["gang", "hostfile"]
Threads = Callable[..., list[Any]]
Processes = Callable[..., Any]


def all_sum(group: Any, count: int = 4, **options: Any) -> None:
    data = np.ones(count, np.float32)
    group.all_reduce(SUM, data, data, count, FLOAT32, **options)


def error_of(call: Callable[[], object]) -> Any:
    """Return the engine's error that a call raises."""
    with pytest.raises(_core.Error) as caught:
        call()
    return caught.value


def die_after_one_sum(group: Any, pipe: Any) -> str:
    all_sum(group)
    pipe.send(os.getpid())
    if group.rank == 1:
        time.sleep(60)
    all_sum(group, timeout_s=30.0)
    return "no error"


@pytest.mark.parametrize("mode", MODES)
def test_a_killed_rank_is_named_on_every_other_rank(processes: Processes, mode: str) -> None:
    ranks = processes(3, die_after_one_sum, mode=mode)
    for rank in range(3):
        ranks.receive(rank)

    ranks.signal(1, signal.SIGKILL)

    for rank in (0, 2):
        name, text, culprit = ranks.receive(rank)
        assert (name, culprit) == ("Error", 1)
        assert text.startswith(f"[ring] rank {rank} of 3: all_sum #2: rank 1 (")
        assert " is gone: " in text


def sum_until_somebody_dies(group: Any, pipe: Any) -> str:
    all_sum(group)
    pipe.send("ready")
    while True:
        all_sum(group, 100_000)


@pytest.mark.parametrize("shared", [True, False], ids=["memory", "tcp"])
@pytest.mark.parametrize("n", [2, 4])
def test_rank_0_is_named_like_any_other(processes: Processes, n: int, shared: bool) -> None:
    ranks = processes(n, sum_until_somebody_dies, shared_memory=shared)
    for rank in range(n):
        ranks.receive(rank)

    ranks.signal(0, signal.SIGKILL)

    for rank in range(1, n):
        name, text, culprit = ranks.receive(rank)
        assert (name, culprit) == ("Error", 0)
        assert re.search(rf"rank {rank} of {n}: all_sum #\d+: rank 0 \(.*\) is gone: ", text), text


def test_control_c_interrupts_a_wait_and_the_others_learn_of_it(processes: Processes) -> None:
    ranks = processes(2, interrupt_one)
    for rank in range(2):
        assert ranks.receive(rank) == "ready"
    time.sleep(0.2)

    ranks.signal(0, signal.SIGINT)

    assert ranks.receive(0) == "KeyboardInterrupt"
    name, text, culprit = ranks.receive(1)
    assert (name, culprit) == ("Error", 0)
    assert "recv from rank 1" in text
    assert "interrupted" in text


def interrupt_one(group: Any, pipe: Any) -> str:
    pipe.send("ready")
    data = np.ones(1, np.float32)
    if group.rank == 0:
        group.recv(data, 1, FLOAT32, 1, 0)
    else:
        while True:
            time.sleep(0.05)
            group.send(data, 0, FLOAT32, 0, 9)
    return "no error"


def fork_while_connected(group: Any, pipe: Any) -> Any:
    all_sum(group)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            all_sum(group)
            text = "no error"
        except RuntimeError as error:
            text = str(error)
        os.write(writer, text.encode())
        os._exit(0)
    os.waitpid(child, 0)
    text = os.read(reader, 4096).decode()
    os.close(reader)
    os.close(writer)
    all_sum(group)
    return os.getpid(), text


def test_a_child_of_fork_is_told_whose_group_it_is_and_the_parent_goes_on(processes: Processes) -> None:
    ranks = processes(2, fork_while_connected)

    for rank in range(2):
        pid, text = ranks.receive(rank)
        assert f"all_sum: the group belongs to process {pid}" in text


def die_with_a_living_child(group: Any, pipe: Any) -> str:
    all_sum(group)
    if group.rank == 1:
        child = os.fork()
        if child == 0:
            time.sleep(20)
            os._exit(0)
        pipe.send(child)
        time.sleep(60)
    all_sum(group)
    return "no error"


def test_a_forked_worker_does_not_hide_the_death_of_its_parent(processes: Processes) -> None:
    ranks = processes(2, die_with_a_living_child)
    child = ranks.receive(1)
    try:
        ranks.signal(1, signal.SIGKILL)
        name, text, culprit = ranks.receive(0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    assert (name, culprit) == ("Error", 1)
    assert " is gone: " in text


@pytest.mark.parametrize("mode", MODES)
def test_leaving_is_an_error_only_for_those_who_need_the_leaver(threads: Threads, mode: str) -> None:
    def program(group: Any) -> Any:
        pair = group.split(0 if group.rank < 2 else None)
        all_sum(group)
        if group.rank == 2:
            return None
        all_sum(pair, 1000)
        error = error_of(lambda: all_sum(group))
        all_sum(pair, 1000)
        return str(error), error.culprit

    first, second, _ = threads(3, program, mode=mode)
    for text, culprit in (first, second):
        assert culprit == 2
        assert "left after all_sum #2" in text


def test_what_a_leaver_sent_before_it_left_arrives(threads: Threads) -> None:
    count = 1 << 20

    def program(group: Any) -> Any:
        if group.rank == 0:
            for tag in range(3):
                group.send(np.full(count, tag, np.float32), count, FLOAT32, 1, tag)
            return None
        time.sleep(0.3)
        got = []
        for tag in range(3):
            data = np.empty(count, np.float32)
            group.recv(data, count, FLOAT32, 0, tag)
            got.append(float(data[-1]))
        return got

    assert threads(2, program)[1] == [0.0, 1.0, 2.0]


DIFFERENT: dict[str, tuple[Callable[[Any], object], str]] = {
    "operation": (
        lambda g: g.all_reduce(MAX, np.ones(4, np.float32), np.ones(4, np.float32), 4, FLOAT32),
        "all_max(float32, 4 elements)",
    ),
    "count": (lambda g: all_sum(g, 3), "all_sum(float32, 3 elements)"),
    "dtype": (
        lambda g: g.all_reduce(SUM, np.ones(4), np.ones(4), 4, FLOAT64),
        "all_sum(float64, 4 elements)",
    ),
    "empty": (lambda g: all_sum(g, 0), "all_sum(float32, 0 elements)"),
    "large": (lambda g: all_sum(g, 1 << 20), "all_sum(float32, 1048576 elements)"),
    "root": (
        lambda g: g.broadcast(np.ones(4, np.float32), 4, FLOAT32, 1),
        "broadcast(float32, 4 elements, root=1)",
    ),
    "barrier": (lambda g: g.barrier(), "barrier()"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("what", DIFFERENT)
def test_calls_that_differ_are_named_on_every_rank(threads: Threads, what: str, mode: str) -> None:
    call, theirs = DIFFERENT[what]

    def program(group: Any) -> str:
        all_sum(group)
        if group.rank == 1:
            # Some calls may complete before the others make theirs: then the next one raises.
            error = error_of(lambda: [use(group) for use in (call, all_sum)])
        else:
            error = error_of(lambda: [use(group) for use in (all_sum, all_sum)])
        assert str(error_of(group.barrier)).count("calls differ") == 1
        return str(error)

    for rank, text in enumerate(threads(3, program, mode=mode)):
        assert text.startswith(f"[ring] rank {rank} of 3: ")
        assert "all_sum(float32, 4 elements)" in text
        assert theirs in text


def test_a_message_of_another_size_is_an_error_on_both_sides(threads: Threads) -> None:
    def program(group: Any) -> Any:
        data = np.ones(8, np.float32)
        if group.rank == 0:
            group.send(data, 8, FLOAT32, 1, 5)
            return str(error_of(group.barrier))
        return str(error_of(lambda: group.recv(data, 4, FLOAT32, 0, 5)))

    for text in threads(2, program):
        assert "send(float32, 8 elements, tag=5)" in text
        assert "recv(float32, 4 elements, tag=5)" in text


def test_an_expired_timeout_names_who_is_missing_and_ends_the_group_everywhere(threads: Threads) -> None:
    def program(group: Any) -> Any:
        if group.rank == 1:
            time.sleep(1.0)
        error = error_of(lambda: all_sum(group, timeout_s=0.3))
        return str(error), error.culprit

    first, second, third = threads(3, program)
    for text, culprit in (first, third):
        assert "all_sum #1: waited 0.3 s for rank 1 (" in text
        assert culprit == 1
    assert "so says rank" in second[0]
    assert second[1] is None


def test_a_timeout_poisons_the_groups_of_that_rank_and_no_others(threads: Threads) -> None:
    def program(group: Any) -> Any:
        pair = group.split(group.rank // 2)
        if group.rank == 0:
            error_of(lambda: pair.recv(np.ones(1, np.float32), 1, FLOAT32, 1, 0, timeout_s=0.2))
        if group.rank < 2:
            return str(error_of(lambda: all_sum(pair)))
        time.sleep(0.5)
        all_sum(pair)
        return str(error_of(lambda: all_sum(group)))

    for rank, text in enumerate(threads(4, program)):
        assert "waited 0.2 s " in text, rank
        assert "recv from rank 1" in text, rank


def test_abort_from_another_thread_ends_the_wait_of_everybody(threads: Threads) -> None:
    def program(group: Any) -> Any:
        if group.rank == 0:
            timer = threading.Timer(0.3, lambda: group.abort("the user has had enough"))
            timer.start()
        error = error_of(
            lambda: group.recv(np.ones(1, np.float32), 1, FLOAT32, 2, 0) if group.rank < 2 else all_sum(group)
        )
        return str(error)

    for text in threads(3, program):
        assert "aborted: the user has had enough" in text


def test_a_closed_group_says_so(threads: Threads) -> None:
    def program(group: Any) -> str:
        part = group.split(0)
        group.barrier()
        group.close()
        return str(error_of(lambda: all_sum(group))) + str(error_of(lambda: all_sum(part)))

    for text in threads(2, program):
        assert text.count("the group is closed") == 2


def test_operations_that_are_complete_do_not_fail_because_a_peer_died_since(processes: Processes) -> None:
    ranks = processes(2, receive_after_death)

    assert ranks.receive(0) == "sent"
    ranks.signal(0, signal.SIGKILL)
    ranks.processes[0].join()
    assert ranks.receive(1) == [3.0, 3.0]


def receive_after_death(group: Any, pipe: Any) -> Any:
    data = np.full(2, 3, np.float32)
    if group.rank == 0:
        group.send(data, 2, FLOAT32, 1, 0)
        pipe.send("sent")
        time.sleep(60)
    time.sleep(1.0)
    data[:] = 0
    group.recv(data, 2, FLOAT32, 0, 0)
    return data.tolist()


def stop_reading(group: Any, pipe: Any) -> str:
    pipe.send("ready")
    if group.rank == 1:
        time.sleep(7)
    all_sum(group, 1 << 23)
    return "done"


@pytest.mark.slow
def test_a_rank_that_computes_while_a_large_message_waits_for_it_is_not_cut_off(processes: Processes) -> None:
    ranks = processes(2, stop_reading)
    for rank in range(2):
        ranks.receive(rank)

    assert [ranks.receive(rank) for rank in range(2)] == ["done", "done"]


def test_a_waiting_rank_uses_almost_no_processor(threads: Threads) -> None:
    def program(group: Any) -> float:
        group.barrier()
        before = time.process_time()
        if group.rank == 1:
            time.sleep(1.0)
        all_sum(group)
        return time.process_time() - before

    assert max(threads(2, program)) < 0.5


def test_spawned_children_can_be_started_while_connected(threads: Threads) -> None:
    """A wait holds no lock that a start of processes needs."""

    def program(group: Any) -> None:
        if group.rank == 0:
            child = multiprocessing.get_context("spawn").Process(target=int)
            child.start()
            child.join()
        all_sum(group)

    threads(2, program)


def test_a_rank_that_is_merely_late_is_waited_for_with_a_warning(
    threads: Threads, caplog: pytest.LogCaptureFixture
) -> None:
    def program(group: Any) -> None:
        if group.rank == 1:
            time.sleep(1.5)
        all_sum(group)

    threads(2, program, timeout_s=0.4)

    assert "[ring] rank 0 of 2: all_sum #1: waited 0." in caplog.text
    assert "which is alive and has not called it yet" in caplog.text


def stop_in_the_middle(group: Any, pipe: Any) -> str:
    all_sum(group)
    pipe.send("ready")
    if group.rank == 1:
        time.sleep(60)
    all_sum(group)
    return "no error"


def test_a_stopped_rank_is_named_after_the_group_s_timeout(processes: Processes) -> None:
    ranks = processes(3, stop_in_the_middle, timeout_s=1.0)
    for rank in range(3):
        ranks.receive(rank)

    ranks.signal(1, signal.SIGSTOP)

    for rank in (0, 2):
        name, text, culprit = ranks.receive(rank)
        assert (name, culprit) == ("Error", 1)
        assert "for rank 1 (" in text
        assert "which does not answer" in text


def test_a_stopped_rank_is_found_by_its_silence_long_before_the_timeout(processes: Processes) -> None:
    ranks = processes(3, stop_in_the_middle, timeout_s=300.0, heartbeat_s=0.2)
    for rank in range(3):
        ranks.receive(rank)

    ranks.signal(1, signal.SIGSTOP)

    for rank in (0, 2):
        name, text, culprit = ranks.receive(rank)
        assert (name, culprit) == ("Error", 1)
        assert "rank 1 (" in text
        assert "is stopped or cut off: it has answered nothing for 1.0 s" in text


def compute_and_sum(group: Any, pipe: Any) -> str:
    all_sum(group)
    pipe.send("ready")
    if group.rank == 1:
        time.sleep(2.5)
    all_sum(group)
    return "done"


def test_a_job_that_is_suspended_as_a_whole_goes_on(processes: Processes) -> None:
    ranks = processes(2, compute_and_sum, heartbeat_s=0.1)
    for rank in range(2):
        ranks.receive(rank)
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for rank in range(2):
            ranks.signal(rank, number)
        time.sleep(1.5)

    assert [ranks.receive(rank) for rank in range(2)] == ["done", "done"]


def go_on_in_a_pair(group: Any, pipe: Any) -> Any:
    """Ranks 0 and 1 sum among themselves until rank 0 is told to stop; then the whole group fails."""
    pair = group.split(group.rank // 2)
    pipe.send("ready")
    if group.rank == 2:
        time.sleep(60)
    n_sums, stop = 0, np.zeros(1, np.float32)
    while not stop[0]:
        stop[0] = group.rank == 0 and pipe.poll()
        pair.all_reduce(MAX, stop, stop, 1, FLOAT32)
        n_sums += 1
    return n_sums, error_of(lambda: all_sum(group)).culprit


@pytest.mark.parametrize("shared", [True, False], ids=["memory", "tcp"])
@pytest.mark.parametrize("mode", MODES)
def test_a_rank_that_starts_again_alone_is_let_in_by_nobody_and_disturbs_nobody(
    processes: Processes, connect_rank: Callable[..., Any], mode: str, shared: bool
) -> None:
    ranks = processes(3, go_on_in_a_pair, mode=mode, shared_memory=shared)
    for rank in range(3):
        ranks.receive(rank)
    ranks.signal(2, signal.SIGKILL)
    ranks.processes[2].join()

    with pytest.raises(_core.Error) as newcomer:
        connect_rank(2, ranks.hosts, mode=mode, shared_memory=shared, connect_timeout_s=1.0)

    assert re.match(r"\[ring\] rank 2 of 3: waited 1\.0 s for rank 0 \(.*\), rank 1 \(", str(newcomer.value))
    ranks.tell(0, "stop")
    for rank in (0, 1):
        n_sums, culprit = ranks.receive(rank)
        assert n_sums > 10
        assert culprit == 2
