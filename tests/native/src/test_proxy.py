"""What lies between two ranks: something that passes on their bytes late and in pieces, or cuts them off."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from jobkit.native import _core

SUM, FLOAT32 = 0, 11
CONTROL, DATA = 0, 1
CHANNEL = slice(24, 28)  # where the handshake's first words name the connection: control or data
PIECES = (1, 47, 49, 4096, 31, 65_537, 7)
PAUSE_S = 0.002
LARGE = 1 << 22
Reserve = Callable[[int], contextlib.AbstractContextManager[list[int]]]


class Connection:
    """A connection of two ranks that goes through here."""

    def __init__(self, caller: socket.socket, port: int) -> None:
        first = caller.recv(CHANNEL.stop, socket.MSG_PEEK | socket.MSG_WAITALL)
        self.channel = struct.unpack("<I", first[CHANNEL])[0]
        self.n_bytes = 0
        self._is_reset = False
        self._ends = caller, socket.create_connection(("127.0.0.1", port))
        for end in self._ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink in (self._ends, self._ends[::-1]):
            threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for n in itertools.cycle(PIECES):
                piece = source.recv(n)
                if self._is_reset:
                    return
                if not piece:
                    sink.shutdown(socket.SHUT_WR)
                    return
                time.sleep(PAUSE_S)
                sink.sendall(piece)
                self.n_bytes += len(piece)

    def reset(self) -> None:
        """End it on both sides as a firewall does that has forgotten it: with a reset."""
        self._is_reset = True
        for end in self._ends:
            with contextlib.suppress(OSError):  # it may have ended by itself
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RD)  # ends the `recv` in which a thread holds on to it
            end.close()


class Proxy:
    """What calls `port` of this host through `address`, one `Connection` each."""

    def __init__(self, port: int) -> None:
        self.connections: list[Connection] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, args=(port,), daemon=True).start()

    def _accept(self, port: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._server.accept()
                try:
                    self.connections.append(Connection(caller, port))
                except OSError:  # the rank behind is not there yet
                    caller.close()

    def end(self) -> None:
        """Let nothing through any more."""
        self._server.close()
        for each in self.connections:
            each.reset()


Ranks = Callable[..., Any]


@pytest.fixture
def through_a_proxy(
    reserve_ports: Reserve, connect_rank: Callable[..., Any]
) -> Iterator[Callable[..., list[Any]]]:
    """A function: run `program(group, proxy)` on 3 ranks, of which 0 and 1 reach each other by a proxy."""
    with contextlib.ExitStack() as stack:

        def run(program: Callable[[Any, Proxy], Any], **options: Any) -> list[Any]:
            ports = stack.enter_context(reserve_ports(3))
            proxy = Proxy(ports[1])
            stack.callback(proxy.end)
            results: list[Any] = [None] * 3

            def rank_main(rank: int) -> None:
                hosts = [[f"127.0.0.1:{port}"] for port in ports]
                if rank == 0:
                    hosts[1] = [proxy.address]
                try:
                    group = connect_rank(rank, hosts, shared_memory=False, **options)
                    results[rank] = program(group, proxy)
                    group.close()
                except BaseException as error:  # noqa: BLE001 - handed to the test
                    results[rank] = error

            threads = [threading.Thread(target=rank_main, args=(rank,), daemon=True) for rank in range(3)]
            for each in threads:
                each.start()
            for each in threads:
                each.join(60)
            assert not any(each.is_alive() for each in threads), "a rank hangs"
            return results

        yield run


def test_bytes_that_come_late_and_in_odd_pieces_do_no_harm(through_a_proxy: Ranks) -> None:
    def program(group: Any, proxy: Proxy) -> None:
        n, rank = group.size, group.rank
        for count in (0, 1, 13, 1024, 100_003):
            own = np.arange(count, dtype=np.float32) % 101 + rank
            total, everybody = np.empty_like(own), np.empty(n * count, np.float32)
            group.all_reduce(SUM, own, total, count, FLOAT32)
            assert (total == 3 * (np.arange(count) % 101) + 3).all()
            group.all_gather(own, everybody, count, FLOAT32)
            assert (everybody.reshape(n, count) == own - rank + np.arange(n)[:, None]).all()
            came = np.empty_like(own)
            group.sendrecv(own, count, (rank + 1) % n, came, count, (rank - 1) % n, FLOAT32, 3)
            assert (came == own - rank + (rank - 1) % n).all()
        if rank == 1:
            time.sleep(1.5)  # what ranks ask each other meanwhile comes late as well
        group.barrier()
        assert proxy.connections[-1].n_bytes > 0

    for result in through_a_proxy(program, heartbeat_s=0.1):
        assert result is None, result


def cut_after_a_megabyte(connection: Connection) -> None:
    """Reset the connection once so much more of an operation has gone through it."""
    before = connection.n_bytes
    while connection.n_bytes < before + (1 << 20):
        time.sleep(0.001)
    connection.reset()


def test_a_reset_in_the_middle_of_a_large_operation_is_told_by_every_rank(through_a_proxy: Ranks) -> None:
    def program(group: Any, proxy: Proxy) -> Any:
        data = np.ones(LARGE, np.float32)
        if group.rank == 0:
            one = next(each for each in proxy.connections if each.channel == DATA)
            threading.Thread(target=cut_after_a_megabyte, args=(one,), daemon=True).start()
        with pytest.raises(_core.Error) as caught:
            group.all_reduce(SUM, data, data, LARGE, FLOAT32)
        return str(caught.value)

    # Nothing but the reset ends the operation: ranks would wait for ever and ask nobody.
    for rank, text in enumerate(through_a_proxy(program, timeout_s=0.0, heartbeat_s=0.0)):
        assert re.match(rf"\[ring\] rank {rank} of 3: all_sum #1: rank [01] \(.*\) is gone: ", text), text


def test_who_cannot_be_asked_any_more_and_keeps_silent_is_named(through_a_proxy: Ranks) -> None:
    """Where the connection for control alone is lost, operations go on for as long as their data comes."""

    def program(group: Any, proxy: Proxy) -> Any:
        data = np.ones(1000, np.float32)
        group.barrier()
        if group.rank == 0:
            next(each for each in proxy.connections if each.channel == CONTROL).reset()
        time.sleep(0.2)
        group.all_reduce(SUM, data, data, data.size, FLOAT32)
        assert (data == 3).all()
        if group.rank == 1:
            time.sleep(3)
        with pytest.raises(_core.Error) as caught:
            group.all_reduce(SUM, data, data, data.size, FLOAT32)
        return str(caught.value), caught.value.culprit

    told = through_a_proxy(program, timeout_s=0.0, heartbeat_s=0.2)
    for rank in (0, 2):
        text, culprit = told[rank]
        assert text.startswith(f"[ring] rank {rank} of 3: all_sum #3: rank 1 (")
        assert " is stopped or cut off: it has answered nothing for 1.0 s" in text
        assert culprit == 1
