from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from jobkit.agent.room import Seat, complete, disagreement, hand_out
from jobkit.env.gang import Report, to_json


def frame(message: dict[str, object]) -> bytes:
    data = json.dumps(message).encode()
    return len(data).to_bytes(4, "big") + data


def report(rank: int, mlx: str = "0.32.0") -> Report:
    return Report(rank, rank, "a", "boot:1", (), "0.1.0", mlx, "", 0, False, ((1,),), 2, 3, 4, 5)


@pytest.fixture
def pairs() -> Iterator[list[tuple[Seat, socket.socket]]]:
    """Two seats, and the shims' ends."""
    made = []
    for rank in range(2):
        ours, theirs = socket.socketpair()
        made.append((Seat(rank, ours), theirs))
    yield made
    for seat, theirs in made:
        seat.close()
        theirs.close()


def test_a_message_may_arrive_in_pieces(pairs: list[tuple[Seat, socket.socket]]) -> None:
    seat, theirs = pairs[0]
    data = frame({"report": to_json(report(0))})
    for piece in (data[:2], data[2:10], data[10:]):
        theirs.sendall(piece)
        assert seat.receive()
    assert seat.report == report(0)


def test_everybody_gets_the_same_table_when_all_are_there(pairs: list[tuple[Seat, socket.socket]]) -> None:
    seats = [seat for seat, _ in pairs]
    for rank, (seat, theirs) in enumerate(pairs):
        assert not complete(seats)
        theirs.sendall(frame({"report": to_json(report(rank))}))
        seat.receive()
    assert complete(seats)
    assert disagreement(seats) == ""
    hand_out(seats)
    tables = [json.loads(theirs.recv(1 << 16)[4:]) for _, theirs in pairs]
    assert tables[0] == tables[1]
    assert [row["rank"] for row in tables[0]["reports"]] == [0, 1]
    assert len(bytes.fromhex(tables[0]["token"])) == 32


def test_ranks_that_differ_are_named(pairs: list[tuple[Seat, socket.socket]]) -> None:
    for rank, (seat, theirs) in enumerate(pairs):
        theirs.sendall(frame({"report": to_json(report(rank, mlx=f"0.{rank}"))}))
        seat.receive()
    assert "versions of mlx" in disagreement([seat for seat, _ in pairs])


def test_a_refusal_and_the_end_are_heard(pairs: list[tuple[Seat, socket.socket]]) -> None:
    seat, theirs = pairs[0]
    theirs.sendall(frame({"starting": True}) + frame({"status": 127, "message": "not there"}))
    theirs.close()
    seat.receive()
    assert (seat.starting, seat.refusal) == (True, (127, "not there"))
    assert not seat.receive()


def test_a_shim_that_died_does_not_stop_the_others(pairs: list[tuple[Seat, socket.socket]]) -> None:
    seat, theirs = pairs[0]
    theirs.close()
    seat.answer(b"table")
