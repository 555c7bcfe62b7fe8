"""The addresses of this host, and a port that is kept."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from jobkit.native.addresses import addresses, reserved_port


def test_the_address_towards_the_meeting_comes_first() -> None:
    assert addresses("127.0.0.1")[0] == "127.0.0.1"
    assert addresses("localhost")[0] == "127.0.0.1"


def test_a_host_without_a_way_out_has_its_loopback(monkeypatch: Any) -> None:
    class Nowhere(socket.socket):
        def connect(self, _: Any) -> None:
            raise OSError("no route to host")

    monkeypatch.setattr(socket, "socket", Nowhere)
    assert addresses("") == ["127.0.0.1"]
    assert addresses("no.such.name.invalid") == ["127.0.0.1"]


def test_nobody_else_gets_a_port_that_is_kept() -> None:
    with reserved_port() as port, socket.socket() as other:
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", port))  # as the engine does
