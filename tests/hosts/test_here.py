"""Processes of this machine."""

from __future__ import annotations

import pytest

from jobkit.hosts.here import Process


def test_bytes_go_in_and_come_out() -> None:
    process = Process("here", ["cat"])
    process.write(b"one\ntwo")
    assert process.readline(100) == b"one\n"
    assert process.read(3) == b"two"
    process.close()
    assert process.login == "here"


def test_what_has_ended_takes_nothing() -> None:
    process = Process("here", ["true"])
    assert process.read(1) == b""
    with pytest.raises(BrokenPipeError):
        for _ in range(100):
            process.write(b"x" * 100_000)
    process.close()
