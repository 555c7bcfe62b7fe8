"""The chain of waits: who waits for whom, and for whom all of them wait in the end."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jobkit.native import _core

SUM = 0
UINT8, FLOAT32 = 1, 11
MORE_THAN_IS_KEPT = 96 << 20  # of messages that nobody has asked for, and in the buffers of the kernel
Threads = Callable[..., list[Any]]
Processes = Callable[..., Any]


def receive(group: Any, source: int, tag: int = 0, **options: Any) -> None:
    group.recv(np.ones(1, np.float32), 1, FLOAT32, source, tag, **options)


def send_much(group: Any, to: int, tag: int = 0) -> None:
    data = np.ones(MORE_THAN_IS_KEPT, np.uint8)
    group.send(data, data.size, UINT8, to, tag)


def error_of(call: Callable[[], object]) -> Any:
    """Return the engine's error that a call raises."""
    with pytest.raises(_core.Error) as caught:
        call()
    return caught.value


def hand_on_then_sum(group: Any, pipe: Any) -> str:
    """Wait for the next rank, the last but one for the last, which computes."""
    pipe.send("ready")
    if group.rank == group.size - 1:
        time.sleep(60)
    receive(group, group.rank + 1)
    return "no error"


def test_a_stopped_rank_is_named_by_ranks_that_wait_for_it_through_others(processes: Processes) -> None:
    ranks = processes(4, hand_on_then_sum, heartbeat_s=0.2)
    for rank in range(4):
        ranks.receive(rank)

    ranks.signal(3, signal.SIGSTOP)

    for rank in range(3):
        name, text, culprit = ranks.receive(rank)
        assert (name, culprit) == ("Error", 3)
        assert text.startswith(f"[ring] rank {rank} of 4: recv from rank {rank + 1} (")
        assert "rank 3 (" in text
        assert "is stopped or cut off: it has answered nothing for 1.0 s" in text


def test_without_heartbeats_the_chain_leads_to_the_stopped_rank(processes: Processes) -> None:
    ranks = processes(4, hand_on_then_sum, heartbeat_s=0.0, timeout_s=1.0)
    for rank in range(4):
        ranks.receive(rank)

    ranks.signal(3, signal.SIGSTOP)

    for rank in range(3):
        name, text, culprit = ranks.receive(rank)
        assert (name, culprit) == ("Error", 3)
        assert text.count(", which does not answer") == 1
        assert "rank 3 (" in text.split(", which does not answer")[0].split(" for ")[-1]


def test_a_deadline_names_the_rank_at_the_end_of_the_chain(threads: Threads) -> None:
    def program(group: Any) -> Any:
        if group.rank == 3:
            time.sleep(2)
            return None
        if group.rank > 0:
            error = error_of(lambda: receive(group, group.rank + 1))
        else:
            time.sleep(0.3)
            error = error_of(lambda: receive(group, 1, timeout_s=0.5))
        return str(error), error.culprit

    host = r"\(.*?\)"
    chain = (
        rf"waited 0\.5 s for rank 1 {host}, which waits in recv from rank 2 {host} with tag 0"
        rf" for rank 2 {host}, which waits in recv from rank 3 {host} with tag 0"
        rf" for rank 3 {host}, which is alive and has not called its part yet"
    )
    for text, culprit in threads(4, program)[:3]:
        assert culprit == 3
        assert re.search(chain, text), text


def test_every_rank_that_has_not_entered_a_collective_is_named_and_no_other(threads: Threads) -> None:
    def program(group: Any) -> Any:
        data = np.ones(100_000, np.float32)
        if group.rank in (2, 4):
            time.sleep(2)
        timeout_s = 0.6 if group.rank == 0 else 30.0
        return str(
            error_of(lambda: group.all_reduce(SUM, data, data, data.size, FLOAT32, timeout_s=timeout_s))
        )

    host = r"\(.*?\)"
    late = ", which is alive and has not called it yet"
    for text in threads(5, program):
        assert re.search(rf"waited 0\.6 s for rank 2 {host}{late}; for rank 4 {host}{late}( \(so|$)", text), (
            text
        )


def test_a_late_rank_is_waited_for_even_through_others(
    threads: Threads, caplog: pytest.LogCaptureFixture
) -> None:
    """Rank 0 waits for rank 1, which is in another call: but it waits for one that computes and will come."""

    def program(group: Any) -> None:
        if group.rank == 2:
            time.sleep(2)
        if group.rank > 0:
            data = np.ones(1, np.float32)
            (receive(group, 2) if group.rank == 1 else group.send(data, 1, FLOAT32, 1, 0))
        group.barrier()

    threads(3, program, timeout_s=0.5)
    assert " has not called its part yet" in caplog.text


# What a deadlock consists of: H stands for the host, and the number after # for a tag.
DEADLOCKS: dict[str, tuple[int, Callable[[Any], None], str]] = {
    "two sends": (
        2,
        lambda g: send_much(g, 1 - g.rank),
        "rank 0 (H) waits in send to rank 1 (H)#0, rank 1 (H) waits in send to rank 0 (H)#0",
    ),
    "two receives": (
        2,
        lambda g: receive(g, 1 - g.rank, 7),
        "rank 0 (H) waits in recv from rank 1 (H)#7, rank 1 (H) waits in recv from rank 0 (H)#7",
    ),
    "tags crossed": (
        2,
        lambda g: send_much(g, 1, 3) if g.rank == 0 else receive(g, 0, 4),
        "rank 0 (H) waits in send to rank 1 (H)#3, rank 1 (H) waits in recv from rank 0 (H)#4",
    ),
    "a circle of three": (
        3,
        lambda g: receive(g, (g.rank + 1) % 3),
        "rank 0 (H) waits in recv from rank 1 (H)#0, rank 1 (H) waits in recv from rank 2 (H)#0,"
        " rank 2 (H) waits in recv from rank 0 (H)#0",
    ),
    "a message and a collective": (
        3,
        lambda g: receive(g, 2, 5) if g.rank == 1 else g.barrier(),
        "rank 1 (H) waits in recv from rank 2 (H)#5, rank 2 (H) waits in barrier",
    ),
}


@pytest.mark.parametrize("what", DEADLOCKS)
def test_a_deadlock_is_reported_with_every_link_on_every_rank(threads: Threads, what: str) -> None:
    n, call, circle = DEADLOCKS[what]

    def program(group: Any) -> Any:
        host = group.topology()["ranks"][0]["host"]
        error = error_of(lambda: call(group))
        return str(error).replace(f"({host})", "(H)"), error.culprit

    circle = circle.replace("#", " with tag ").replace("barrier", "barrier #1")
    for text, culprit in threads(n, program, timeout_s=1.0):
        assert f" in a deadlock: {circle}" in text
        assert culprit is None or "so says" in text


def test_a_slow_message_between_two_ranks_is_no_deadlock(threads: Threads) -> None:
    """Both ends wait for each other, in the same operation."""

    def program(group: Any) -> str:
        data = np.ones(1 << 24, np.uint8)
        if group.rank == 0:
            group.send(data, data.size, UINT8, 1, 0)
            return str(error_of(lambda: receive(group, 1, timeout_s=0.4)))
        group.recv(data, data.size, UINT8, 0, 0)
        time.sleep(1)
        return ""

    assert "deadlock" not in threads(2, program)[0]
