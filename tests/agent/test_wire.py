from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobkit.agent import wire
from jobkit.agent.events import Done, Event, Exited, Output, Problem, Started
from jobkit.env.record import RankExit

EXIT = RankExit(1, "node-1", 3, None, False, 0, "exit", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", 0)


@pytest.mark.parametrize(
    "event",
    [
        Started(3, 77),
        Output(2, 1, b"\xff\0text\n"),
        Exited(EXIT),
        Problem(125, "wörds", None),
        Done(None, 0),
        Done(EXIT, 3),
    ],
)
def test_an_event_crosses_unchanged(event: Event) -> None:
    ((kind, payload),) = wire.Decoder().feed(wire.encode_event(event))
    assert wire.decode_event(kind, payload) == event


@settings(deadline=None, max_examples=50)
@given(st.lists(st.binary(max_size=20)), st.integers(1, 7))
def test_frames_are_found_however_they_arrive(payloads: list[bytes], step: int) -> None:
    data = b"".join(wire.frame(wire.STDIN, payload) for payload in payloads)
    decoder = wire.Decoder()
    frames = [f for i in range(0, len(data), step) for f in decoder.feed(data[i : i + step])]
    assert frames == [(wire.STDIN, payload) for payload in payloads]


def test_frames_that_are_no_events_are_none() -> None:
    assert wire.decode_event(wire.CREDIT, b"7") is None


@settings(deadline=None)
@given(st.integers(0, 30))
def test_what_is_whole_ends_where_a_frame_does(cut: int) -> None:
    data = wire.frame(wire.PING) + wire.frame(wire.STDIN, b"abc") + wire.frame(wire.SIGNAL, b"INT")
    end = wire.whole(data[:cut])
    assert end == max(e for e in (0, 5, 13, 21) if e <= cut)
