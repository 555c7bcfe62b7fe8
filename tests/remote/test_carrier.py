from __future__ import annotations

import queue
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobkit.agent import wire
from jobkit.remote import carrier
from jobkit.remote.carrier import Carrier

PING = wire.frame(wire.PING)
REQUEST = wire.frame(wire.REQUEST, b"request")


class Channel:
    """What stands in for an SSH channel."""

    def __init__(self) -> None:
        self.written: queue.Queue[bytes | None] = queue.Queue()
        self.coming: queue.Queue[bytes] = queue.Queue()
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written.put(data)

    def read_some(self, _size: int) -> bytes:
        return self.coming.get()

    def end_input(self) -> None:
        self.written.put(None)

    def wait(self, _seconds: float) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True
        self.coming.put(b"")


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Channel, Carrier]]:
    """An agent's channel and what carries its bytes."""
    monkeypatch.setattr(carrier, "PING_S", 0.05)
    monkeypatch.setattr(carrier, "_UNANSWERED", 10_000)  # a busy machine answers late
    channel: Any = Channel()
    one = Carrier(channel)
    one.near.settimeout(60.0)
    one.start()
    yield channel, one
    one.near.close()
    one.leave(time.monotonic())


def test_bytes_and_their_end_pass_both_ways(carried: tuple[Channel, Carrier]) -> None:
    channel, one = carried
    one.near.sendall(REQUEST)
    assert channel.written.get(timeout=60) == REQUEST
    channel.coming.put(b"answer")
    assert one.near.recv(100) == b"answer"
    one.near.shutdown(socket.SHUT_WR)
    while (data := channel.written.get(timeout=60)) is not None:
        assert data == PING
    channel.coming.put(b"")
    assert one.near.recv(100) == b""


def test_no_question_comes_to_stand_within_a_frame(carried: tuple[Channel, Carrier]) -> None:
    channel, one = carried
    one.near.sendall(REQUEST + REQUEST[:6])
    said = [channel.written.get(timeout=60) for _ in range(3)]
    one.near.sendall(REQUEST[6:])
    while said[-1] != REQUEST:
        said.append(channel.written.get(timeout=60))
        channel.coming.put(b"pong")
    assert set(said) == {REQUEST, PING}


def test_what_was_said_is_on_its_way_once_it_has_settled(carried: tuple[Channel, Carrier]) -> None:
    channel, one = carried
    for _ in range(50):
        one.near.sendall(REQUEST)
        one.settle(time.monotonic() + 60.0)
        assert channel.written.get_nowait() in (REQUEST, PING)
        while not channel.written.empty():
            channel.written.get_nowait()


def test_nothing_is_said_before_the_request(carried: tuple[Channel, Carrier]) -> None:
    channel, one = carried
    time.sleep(0.2)
    one.near.sendall(REQUEST)
    assert channel.written.get(timeout=60) == REQUEST


def test_an_agent_that_answers_is_asked_on_and_a_silent_one_given_up(
    carried: tuple[Channel, Carrier], wait: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, one = carried
    one.near.sendall(REQUEST)
    for _ in range(12):
        channel.written.get(timeout=60)
        channel.coming.put(b"pong")
    assert not channel.is_closed
    monkeypatch.setattr(carrier, "_UNANSWERED", 4)
    assert wait(lambda: channel.is_closed)
    while one.near.recv(100):
        pass
