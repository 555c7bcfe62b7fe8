from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from jobkit.agent import relay
from jobkit.errors import LaunchError
from jobkit.remote.exchange import Exchange


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    one = Exchange()
    yield one
    one.close()


def called(exchange: Exchange, node: int = 1, secret: str = "") -> socket.socket:
    about = exchange.about("")
    connection = socket.create_connection(("127.0.0.1", about["port"]), timeout=60)
    try:
        introduced = relay.introduce(connection, secret or about["secret"], {"node": node})
    except BaseException:
        connection.close()
        raise
    if not introduced:
        connection.close()
        raise ValueError("a stranger")
    return connection


def test_who_has_called_waits_to_be_taken(exchange: Exchange, wait) -> None:
    heard = []
    exchange.listeners.add(lambda: heard.append(1))
    assert exchange.take(1) is None
    with called(exchange) as outpost:
        assert wait(lambda: heard)
        assert exchange.take(2) is None
        taken = exchange.take(1)
        assert taken is not None
        assert exchange.take(1) is None
        with taken:
            taken.sendall(b"request")
            assert outpost.recv(100) == b"request"


def test_who_has_gone_again_is_not_taken(exchange: Exchange, wait) -> None:
    heard = []
    exchange.listeners.add(lambda: heard.append(1))
    called(exchange).close()
    assert wait(lambda: heard)
    assert exchange.take(1) is None


def test_a_stranger_is_let_go(exchange: Exchange) -> None:
    with pytest.raises((ValueError, OSError)):
        called(exchange, secret="00" * 32)
    assert exchange.take(1) is None


def test_who_waits_at_the_end_hears_of_it(wait) -> None:
    exchange, heard = Exchange(), []
    exchange.listeners.add(lambda: heard.append(1))
    with called(exchange) as outpost:
        assert wait(lambda: heard)
        exchange.close()
        assert outpost.recv(1) == b""


def test_ports_of_the_spec_are_kept_to() -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=r"network.ports: none of them is free"):
            Exchange((port, port))


def test_the_address_that_is_known_is_the_first_to_be_tried(exchange: Exchange) -> None:
    assert exchange.about("10.9.8.7")["addresses"][0] == "10.9.8.7"
    assert "127.0.0.1" in exchange.about("")["addresses"]
