from __future__ import annotations

import os

import pytest

from jobkit.agent.pipes import Inlet, Outlet, Source


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def test_an_outlet_keeps_what_is_not_taken(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    outlet = Outlet(writer)
    outlet.send(b"x" * 10_000_000)
    assert outlet.waiting
    assert outlet.full
    taken = 0
    while outlet.waiting:
        taken += len(os.read(reader, 1 << 20))
        outlet.flush()
    os.close(writer)
    while data := os.read(reader, 1 << 20):
        taken += len(data)
    assert taken == 10_000_000
    os.close(reader)


def test_an_outlet_whose_reader_is_gone_is_broken(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(reader)
    outlet = Outlet(writer)
    outlet.send(b"x")
    assert outlet.broken
    assert not outlet.waiting
    os.close(writer)


def test_an_inlet_ends_behind_what_it_keeps(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    inlet = Inlet(writer)
    inlet.send(b"y" * 1_000_000)
    inlet.end()
    assert not inlet.closed
    taken = 0
    while data := os.read(reader, 1 << 20):
        taken += len(data)
        inlet.flush()
    assert (taken, inlet.consumed, inlet.closed, inlet.fileno()) == (1_000_000, 1_000_000, True, -1)
    os.close(reader)


def test_an_inlet_whose_rank_is_gone_is_closed(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(reader)
    inlet = Inlet(writer)
    inlet.send(b"y")
    assert inlet.closed
    assert not inlet.waiting


def test_a_source_closes_itself_at_the_end(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    source = Source(0, 1, reader)
    assert source.read() == b""
    assert not source.closed
    os.write(writer, b"z")
    os.close(writer)
    assert source.read() == b"z"
    assert source.read() == b""
    assert (source.closed, source.fileno()) == (True, -1)
