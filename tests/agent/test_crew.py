"""What a crew makes of what its agents say; the agents are the other ends of socket pairs."""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Iterator

import pytest

from jobkit.agent import wire
from jobkit.agent.crew import Crew
from jobkit.agent.events import Done, Event, Exited, Problem
from jobkit.agent.request import Request, decode
from jobkit.env.record import RankExit


class Played(Crew):
    """A crew whose agents a test plays."""

    def __init__(self, request: Request) -> None:
        super().__init__(request, (("h0", (0,)), ("h1", (1, 2))))
        self.ends: list[socket.socket] = []

    def _bring(self) -> None:
        pass

    def _news(self) -> list[Event]:
        return []

    def _give_up(self) -> None:
        pass

    def _kill(self) -> None:
        pass

    def _leave(self, _deadline: float) -> None:
        for end in self.ends:
            end.close()

    def come(self, node: int) -> None:
        ours, theirs = socket.socketpair()
        theirs.settimeout(60.0)
        self.ends.append(theirs)
        self._hire(self._members[node], ours, self._request)

    def say(self, node: int, *frames: bytes) -> list[Event]:
        """Let an agent say something; return what the crew makes of it."""
        self.ends[node].sendall(b"".join(frames))
        select.select([self], [], [], 60.0)
        return self.receive()

    def asked(self, node: int) -> list[tuple[bytes, bytes]]:
        """Return what an agent has been told."""
        return list(wire.Decoder().feed(self.ends[node].recv(1 << 20)))


@pytest.fixture
def crew() -> Iterator[Played]:
    request = Request(
        "crew", "crew", 1, None, "pipe", 0, 1, 3, 0, 2, ("true",), ("none",), 1, sys.executable, "/",
        dict(os.environ), (), {}, "all", None, None, None, grace_s=1.0,
    )  # fmt: skip
    with Played(request) as found:
        yield found


def end(rank: int, status: int, ended: str, *, by_jobkit: bool = False) -> RankExit:
    return RankExit(rank, "h", status, None, by_jobkit, None, "exit", "", ended, 0)


def exited(one: RankExit) -> bytes:
    return wire.encode_event(Exited(one))


def done(status: int, first: RankExit | None = None) -> bytes:
    return wire.encode_event(Done(first, status))


def test_each_host_is_asked_for_its_own_ranks(crew: Played) -> None:
    for node, (first, ranks) in enumerate([(0, 1), (1, 2)]):
        crew.come(node)
        ((kind, payload),) = crew.asked(node)
        asked = decode(payload)
        assert (kind, asked.node, asked.first_rank, asked.local_size) == (wire.REQUEST, node, first, ranks)


def test_input_is_taken_when_all_are_there_as_fast_as_the_slowest_reads(crew: Played) -> None:
    crew.come(0)
    assert crew.stdin_room == 0
    crew.come(1)
    crew.send_stdin(b"x" * 100)
    crew.say(0, wire.frame(wire.CREDIT, b"100"))
    assert crew.stdin_room == wire.STDIN_WINDOW - 100
    crew.say(1, wire.frame(wire.CREDIT, b"100"))
    assert crew.stdin_room == wire.STDIN_WINDOW


def test_the_first_to_fail_in_time_gives_the_status_whoever_is_heard_first(crew: Played) -> None:
    for node in (0, 1):
        crew.come(node)
        crew.asked(node)
    late, early = end(0, 3, "2026-01-01T00:00:02Z"), end(1, 7, "2026-01-01T00:00:01Z")
    crew.say(0, exited(late), done(3, late))
    assert crew.asked(1) == [(wire.TERMINATE, b"null")]
    ended = end(2, 143, "2026-01-01T00:00:03Z", by_jobkit=True)
    (*_, last) = crew.say(1, exited(early), exited(ended), done(7, early))
    assert isinstance(last, Done) and last.first is not None
    assert (last.status, last.first.rank) == (7, 1)


def test_an_agent_that_hangs_up_is_told_once_and_ends_the_others(crew: Played) -> None:
    for node in (0, 1):
        crew.come(node)
        crew.asked(node)
    crew.ends[0].close()
    select.select([crew], [], [], 60.0)
    assert crew.receive() == [Problem(125, "h0: the connection to its agent is lost")]
    assert crew.asked(1) == [(wire.TERMINATE, b"null")]
    assert crew.say(1, done(143)) == [Done(None, 125)]
