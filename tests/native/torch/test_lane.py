"""Calls that run one after another."""

from __future__ import annotations

import threading

from jobkit.native.torch.lane import Lane


def test_what_is_waited_for_runs_in_the_thread_that_waits() -> None:
    lane, threads = Lane("test"), []
    lane.run(lambda: threads.append(threading.current_thread()), here=True)
    assert threads == [threading.current_thread()]
    lane.close(5)


def test_all_runs_in_the_order_of_issue() -> None:
    lane, order, gate = Lane("test"), [], threading.Event()
    lane.run(gate.wait, here=False)  # type: ignore[arg-type]
    for number in range(50):
        lane.run(lambda number=number: order.append(number), here=number % 2 == 0)
    assert order == []
    gate.set()
    lane.close(30)
    assert order == list(range(50))


def test_one_call_runs_at_a_time() -> None:
    lane, running, most = Lane("test"), [0], [0]

    def call() -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        threading.Event().wait(0.001)
        running[0] -= 1

    def issue(here: bool) -> None:
        for _ in range(20):
            lane.run(call, here=here)

    issuers = [threading.Thread(target=issue, args=(here,)) for here in (True, False, True)]
    for each in issuers:
        each.start()
    for each in issuers:
        each.join(30)
    lane.close(30)
    assert most == [1]


def test_a_lane_that_was_not_used_has_no_thread() -> None:
    before = threading.active_count()
    lane = Lane("test")
    lane.run(lambda: None, here=True)
    assert threading.active_count() == before
    lane.close(5)
