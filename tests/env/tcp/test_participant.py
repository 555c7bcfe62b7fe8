from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from env.tcp.threads import TOKEN, Gang

from jobkit.env.gang import Table
from jobkit.env.tcp import participant, wire
from jobkit.errors import LaunchError

Make = Callable[..., Gang]


@pytest.fixture
def make_stranger() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """Make a listener that does one thing with every caller; returns its port."""
    listeners: list[socket.socket] = []

    def make(answer: Callable[[socket.socket], None]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                with caller:
                    answer(caller)

        threading.Thread(target=serve, daemon=True).start()
        return int(listener.getsockname()[1])

    yield make
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def outcome(gang: Gang, rank: int) -> Table | Exception:
    return gang.wait()[rank]


def test_ranks_wait_for_a_coordinator_that_is_late(make_gang: Make) -> None:
    gang = make_gang(2)
    gang.join(1)
    gang.coordinate()
    assert isinstance(outcome(gang, 1), Table)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda caller: caller.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "it sent a message of"),
        (lambda caller: caller.recv(4096), "it hung up"),
        (lambda caller: caller.sendall(wire.frame(b"[]")), "no JSON object"),
        (
            lambda caller: caller.sendall(wire.frame(b'{"nonce": "1"}')),
            "it is of this job, and has another token",
        ),
        (lambda caller: caller.sendall(wire.frame(b'{"refused": "go away"}')), "has another token"),
    ],
)
def test_a_stranger_is_passed_over(
    make_gang: Make, make_stranger: Callable[..., int], answer: Callable[[socket.socket], object], text: str
) -> None:
    gang = make_gang(2)
    port = make_stranger(answer)
    gang.join(1, ports=(port, gang.port))
    gang.coordinate()
    assert isinstance(outcome(gang, 1), Table)
    assert any(text.removeprefix("it sent ") in line for line in gang.said), gang.said


def test_a_stranger_that_is_silent_is_passed_over(
    make_gang: Make, make_stranger: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(participant, "_ANSWER_S", 0.2)
    over = threading.Event()
    gang = make_gang(2)
    gang.join(1, ports=(make_stranger(lambda _: over.wait(30) and None), gang.port))
    gang.coordinate()
    assert isinstance(outcome(gang, 1), Table)
    over.set()


def test_nobody_there_says_what_was_tried(make_gang: Make) -> None:
    gang = make_gang(2)
    gang.coordinator.close()
    gang.join(1, timeout_s=0.3)
    error = outcome(gang, 1)
    assert isinstance(error, LaunchError)
    assert "rank 1 of 2 found no coordinator on 127.0.0.1 within 0.3 s; at last 127.0.0.1 port" in str(error)
    assert "Connection refused" in str(error)


def test_another_token_for_long_is_an_error_before_the_deadline(
    make_gang: Make, make_stranger: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(participant, "_UNKNOWN_S", 0.2)
    gang = make_gang(2)
    port = make_stranger(lambda caller: caller.sendall(wire.frame(b'{"nonce": "1"}')))
    gang.join(1, ports=(port,), timeout_s=600)
    error = outcome(gang, 1)
    assert isinstance(error, LaunchError)
    assert f"token {TOKEN.where}: is not the coordinator's" in str(error)
    gang.coordinate(timeout_s=0)


def test_a_stale_attempt_ends_at_once(make_gang: Make) -> None:
    gang = make_gang(2)
    later = make_gang(2)
    later.coordinator.where = later.where(0, attempt=2)
    later.coordinate(timeout_s=2)
    gang.join(1, ports=(later.port,), timeout_s=600)
    error = outcome(gang, 1)
    assert isinstance(error, LaunchError)
    assert "attempt 2 of job-1 is running, and this is attempt 1" in str(error)
    gang.coordinate(timeout_s=0)
