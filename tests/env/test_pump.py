from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobkit.env.pump import TAIL_BYTES, Pump


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        if _is_open(fd):
            os.close(fd)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def pump_all(pump: Pump) -> None:
    while pump.wanted()[0] >= 0:
        poll = select.poll()
        poll.register(*pump.wanted())
        poll.poll()
        pump.turn()


def test_every_byte_arrives_in_order_however_slowly_it_is_taken(pipe: tuple[int, int]) -> None:
    source, sink = pipe
    taker, target = os.pipe()
    data = os.urandom(3_000_000)
    arrived = bytearray()

    def write() -> None:
        with os.fdopen(sink, "wb") as file:
            file.write(data)

    def take() -> None:
        with os.fdopen(taker, "rb") as file:
            while part := file.read(777):
                arrived.extend(part)

    threads = [threading.Thread(target=work) for work in (write, take)]
    for thread in threads:
        thread.start()
    pump = Pump(source, target)
    pump_all(pump)
    os.close(target)
    for thread in threads:
        thread.join()
    assert arrived == data
    assert pump.tail == data[-TAIL_BYTES:]


def test_a_piece_ends_with_a_line_where_it_can(pipe: tuple[int, int], tmp_path: Path) -> None:
    source, sink = pipe
    lines = b"".join(b"%03d" % n * 30 + b"\n" for n in range(200))
    os.write(sink, lines)
    with (tmp_path / "out").open("wb") as out:
        pump = Pump(source, out.fileno())
        pump.turn()
        pump.turn()
        written = (tmp_path / "out").read_bytes()
    assert 0 < len(written) < len(lines)
    assert written.endswith(b"\n")


def test_a_line_without_an_end_is_not_held_back(pipe: tuple[int, int], tmp_path: Path) -> None:
    os.write(pipe[1], b"(Pdb) ")
    with (tmp_path / "out").open("wb") as out:
        pump = Pump(pipe[0], out.fileno())
        pump.turn()
        pump.turn()
        assert (tmp_path / "out").read_bytes() == b"(Pdb) "


def test_who_keeps_the_pipe_open_is_not_waited_for(pipe: tuple[int, int], tmp_path: Path) -> None:
    os.write(pipe[1], b"last words")
    with (tmp_path / "out").open("wb") as out:
        Pump(pipe[0], out.fileno()).drain()
    assert (tmp_path / "out").read_bytes() == b"last words"


def test_a_program_learns_that_nobody_reads(pipe: tuple[int, int]) -> None:
    source, sink = pipe
    reader, target = os.pipe()
    os.close(reader)
    os.write(sink, b"x")
    pump_all(Pump(source, target))
    with pytest.raises(BrokenPipeError):
        os.write(sink, b"y")
    os.close(target)
