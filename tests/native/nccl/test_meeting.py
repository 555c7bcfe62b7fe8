"""How ranks meet at one port, and who is turned away there."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from typing import Any

import pytest

from jobkit.errors import BackendError
from jobkit.native.nccl import meeting
from jobkit.native.nccl.meeting import Place, meet

TOKEN = bytes(range(32))


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def places(n: int, port: int, token: bytes = TOKEN, timeout_s: float = 60.0) -> list[Place]:
    return [Place("127.0.0.1", port, rank, n, token, timeout_s) for rank in range(n)]


def all_meet(given: list[Place]) -> list[Any]:
    results: list[Any] = [None] * len(given)

    def rank_main(index: int) -> None:
        try:
            with meet(given[index]) as where:
                results[index] = where
        except BackendError as error:
            results[index] = str(error)

    threads = [threading.Thread(target=rank_main, args=(index,)) for index in range(len(given))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


@pytest.mark.parametrize("token", [b"", TOKEN])
@pytest.mark.parametrize("n", [2, 8])
def test_everybody_learns_where_everybody_is(port: int, n: int, token: bytes) -> None:
    found = all_meet(places(n, port, token))
    for rank, where in enumerate(found):
        assert (where.rank, where.mode, where.token) == (rank, "gang", token)
        assert where.hosts == found[0].hosts
        assert where.job == found[0].job
    ports = {address.rpartition(":")[2] for host in found[0].hosts for address in host}
    assert len(ports) == n
    assert all(host[0].startswith("127.0.0.1:") for host in found[0].hosts)


def test_the_port_is_closed_afterwards(port: int) -> None:
    all_meet(places(2, port))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 60)


def test_ranks_that_do_not_come_are_named(port: int) -> None:
    first, second = all_meet(places(4, port, timeout_s=1.0)[:2])
    told = f"backend nccl: 127.0.0.1:{port}: "
    assert first == told + "rank 0 of 4 waited 1.0 s for ranks [2, 3]"
    assert second.startswith(told)


def test_without_rank_0_the_others_say_what_they_waited_for(port: int) -> None:
    (told,) = all_meet(places(2, port, timeout_s=0.5)[1:])
    assert "rank 1 of 2 waited 0.5 s for rank 0 to listen" in told


def test_a_rank_with_another_secret_is_turned_away(port: int) -> None:
    right, wrong = places(2, port, timeout_s=1.0), places(2, port, b"x" * 32, 1.0)
    first, second = all_meet([right[0], wrong[1]])
    assert "waited 1.0 s for ranks [1]" in first
    assert "rank 0 there has another secret" in second


def test_a_rank_of_another_job_and_one_too_many_are_turned_away(port: int) -> None:
    good = places(3, port, timeout_s=2.0)
    patient = places(3, port)[1]
    first, second, other = all_meet([good[0], patient, Place("127.0.0.1", port, 5, 6, TOKEN, 2.0)])
    assert "for ranks [2]" in first
    assert "gave up: ranks [2] did not come" in second
    assert "refuses this rank: rank 5 of 6 is no rank of 3" in other


def test_strangers_are_reported_and_disturb_nobody(port: int, caplog: pytest.LogCaptureFixture) -> None:
    given = places(2, port)
    results: list[Any] = []
    with caplog.at_level(logging.WARNING):
        first = threading.Thread(target=lambda: results.append(all_meet(given[:1])))
        first.start()
        for said in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x00\x00\x00\x02[]",
            b"\x00\x00\x00\x02{}",
            b"\xff" * 8,
            b"",
        ):
            with meeting._connected(given[1], float("inf")) as stranger:
                stranger.sendall(said)
                stranger.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    while stranger.recv(100):
                        pass
        results.append(all_meet(given[1:]))
        first.join(60)
    assert sorted(where.rank for (where,) in results) == [0, 1]
    assert caplog.text.count("a caller from 127.0.0.1 that is no rank of this job") == 5


def test_a_port_that_is_taken_is_an_error_with_a_hint(port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        (told,) = all_meet(places(2, port)[:1])
    assert "cannot listen: [Errno 98]" in told
    assert "hint: NCCL_HOST_IP is an address of rank 0's host" in told


def test_a_server_that_is_not_rank_0_is_recognised(port: int) -> None:
    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(bytes(128))  # as MLX's own: the number of NCCL
            connection.recv(1000)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        (told,) = all_meet(places(2, port)[1:])
        thread.join(60)
    assert "who listens there is not rank 0 of this job" in told


def test_a_host_of_that_name_elsewhere_is_listened_for_everywhere(port: int) -> None:
    assert meeting._local("127.0.0.1") == "127.0.0.1"
    assert meeting._local("192.0.2.1") == ""
