"""Ranks of one host share memory: all that want to, or none."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SOCKETS = Path("/proc/net/unix")
FLOAT32, INT32 = 11, 7
SUM = 0
MODES = ["gang", "hostfile"]
Threads = Callable[..., list[Any]]
Connect = Callable[..., Any]
Reserve = Callable[[int], contextlib.AbstractContextManager[list[int]]]

pytestmark = pytest.mark.skipif(not SOCKETS.exists(), reason="abstract sockets are Linux's")


def matrix_after_use(group: Any) -> list[list[str]]:
    """Return who reaches whom how, once small and large messages have gone both ways between all."""
    for n in (1, 5_000, 300_001):
        data = np.full(n, group.rank + 1, np.float32)
        group.all_reduce(SUM, data, data, n, FLOAT32)
        assert (data == sum(range(1, group.size + 1))).all()
    out = np.empty(group.size * 50_000, np.int32)
    group.all_gather(np.full(50_000, group.rank, np.int32), out, 50_000, INT32)
    assert (out.reshape(group.size, -1) == np.arange(group.size)[:, None]).all()
    matrix: list[list[str]] = group.topology()["matrix"]
    return matrix


def hosts_of(ports: list[int]) -> list[list[str]]:
    return [[f"127.0.0.1:{port}"] for port in ports]


def doors() -> set[str]:
    """Return the names of the doors that this process has open."""
    own = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            own.add(str(descriptor.readlink()))
    rows = [line.split() for line in SOCKETS.read_text().splitlines()[1:]]
    named = {row[7]: f"socket:[{row[6]}]" for row in rows if len(row) > 7 and row[7].startswith("@jobkit-")}
    return {name for name, inode in named.items() if inode in own}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [2, 5])
def test_ranks_of_one_host_share_memory(threads: Threads, n: int, mode: str) -> None:
    expected = [["self" if p == q else "shm" for q in range(n)] for p in range(n)]
    assert threads(n, matrix_after_use, mode=mode) == [expected] * n


@pytest.mark.parametrize("mode", MODES)
def test_a_rank_that_shares_nothing_is_reached_by_tcp(
    reserve_ports: Reserve, connect_rank: Connect, mode: str
) -> None:
    matrices: list[Any] = [None] * 4

    def rank_main(rank: int, hosts: list[list[str]]) -> None:
        group = connect_rank(rank, hosts, mode=mode, job="partly", shared_memory=rank != 1)
        matrices[rank] = matrix_after_use(group)
        group.close()

    with reserve_ports(4) as ports:
        ranks = [threading.Thread(target=rank_main, args=(rank, hosts_of(ports))) for rank in range(4)]
        for each in ranks:
            each.start()
        for each in ranks:
            each.join(60)
    expected = [
        ["self" if p == q else "direct" if 1 in (p, q) else "shm" for q in range(4)] for p in range(4)
    ]
    assert matrices == [expected] * 4


@contextlib.contextmanager
def at_the_door(name: str, said: bytes, n: int) -> Iterator[None]:
    """Hold `n` connections to a door, each of which has said something."""
    with contextlib.ExitStack() as stack:
        for _ in range(n):
            caller = stack.enter_context(socket.socket(socket.AF_UNIX))
            caller.setblocking(False)
            with contextlib.suppress(OSError):
                caller.connect("\0" + name[1:])
                caller.send(said)
        yield


@pytest.mark.parametrize(
    ("said", "n"),
    [
        (b"", 1),
        (b"GET / HTTP/1.1\r\n\r\n" * 3, 1),
        (struct.pack("<Ii16s", 0x4D534B4A, 1, bytes(16)), 3),  # a hello with another secret
        (struct.pack("<Ii", 0x4D534B4A, 1), 300),
    ],
    ids=["silent", "foreign", "without the secret", "a flood of halves"],
)
def test_strangers_at_the_door_get_nothing_and_hold_up_nobody(
    reserve_ports: Reserve, connect_rank: Connect, said: bytes, n: int
) -> None:
    matrices: list[Any] = [None] * 2

    def rank_main(rank: int, hosts: list[list[str]]) -> None:
        group = connect_rank(rank, hosts, job=f"doors {said!r}")
        matrices[rank] = matrix_after_use(group)
        group.close()

    with reserve_ports(2) as ports:
        ranks = [threading.Thread(target=rank_main, args=(rank, hosts_of(ports))) for rank in range(2)]
        ranks[0].start()
        end = time.monotonic() + 20
        while not doors():
            assert time.monotonic() < end, "rank 0 opens no door"
            time.sleep(0.01)
        with contextlib.ExitStack() as stack:
            for name in doors():
                stack.enter_context(at_the_door(name, said, n))
            ranks[1].start()
            for each in ranks:
                each.join(60)
    assert matrices == [[["self", "shm"], ["shm", "self"]]] * 2


PROGRAM = """
    import json, os, sys
    import numpy as np
    from jobkit.native import _core

    def join(rank, ports):
        hosts = [[f"127.0.0.1:{port}"] for port in ports]
        return _core.connect(rank, hosts, mode="gang", job="processes", epoch=0, token=b"t",
                             connect_timeout_s=60.0, timeout_s=60.0, heartbeat_s=1.0, verbose=False)

    def total(group):
        data = np.ones(3000, np.float32)
        group.all_reduce(0, data, data, data.size, 11)
        return int(data[-1])
"""


def start(body: str, *arguments: Any) -> subprocess.Popen[str]:
    source = textwrap.dedent(PROGRAM) + textwrap.dedent(body)
    words = [sys.executable, "-c", source, *(str(each) for each in arguments)]
    return subprocess.Popen(words, stdin=-1, stdout=-1, text=True)


WAITING = """
    rank, ports = int(sys.argv[1]), [int(each) for each in sys.argv[2:]]
    group = join(rank, ports)
    print(total(group), flush=True)
    try:
        while True:
            total(group)
            if rank == 0:
                sys.stdin.readline()
    except RuntimeError as error:
        print(error, flush=True)
"""


def test_who_is_killed_leaves_nothing_and_is_named(reserve_ports: Reserve) -> None:
    with reserve_ports(2) as ports:
        ranks = [start(WAITING, rank, *ports) for rank in range(2)]
        try:
            assert [rank.stdout.readline() for rank in ranks if rank.stdout] == ["2\n", "2\n"]
            ranks[0].send_signal(signal.SIGKILL)
            said, _ = ranks[1].communicate(timeout=30)
        finally:
            for rank in ranks:
                rank.kill()
                rank.communicate()
    assert "rank 0" in said
    assert "is gone" in said
    assert not [each for each in Path("/dev/shm").iterdir() if "jobkit" in each.name]


FORKING = """
    rank, ports = int(sys.argv[1]), [int(each) for each in sys.argv[2:]]
    group = join(rank, ports)
    first = total(group)
    child = os.fork()
    if not child:
        mapped = "memfd:jobkit" in open("/proc/self/maps").read()
        try:
            total(group)
        except RuntimeError as error:
            os._exit(3 if not mapped and "belongs to process" in str(error) else 4)
        os._exit(5)
    print(first, total(group), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), total(group))
"""


def test_a_child_of_fork_has_none_of_it(reserve_ports: Reserve) -> None:
    with reserve_ports(2) as ports:
        ranks = [start(FORKING, rank, *ports) for rank in range(2)]
        assert [rank.communicate(timeout=60)[0] for rank in ranks] == ["2 2 3 2\n"] * 2


MANY = """
    ports = [int(each) for each in sys.argv[1:]]
    children = []
    for rank in range(len(ports)):
        if not (child := os.fork()):
            group = join(rank, ports)
            shared = group.topology()["matrix"][rank].count("shm")
            os._exit(0 if total(group) == len(ports) == shared + 1 else 1)
        children.append(child)
    print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children].count(0))
"""


def test_64_ranks_of_one_host_meet_and_share(reserve_ports: Reserve) -> None:
    with reserve_ports(64) as ports:
        assert start(MANY, *ports).communicate(timeout=100)[0] == "64\n"


APART = """
    rank = int(sys.argv[1])
    hosts = json.loads(sys.argv[2])
    group = _core.connect(rank, hosts, mode=sys.argv[3], job="apart", epoch=0, token=b"t",
                          connect_timeout_s=60.0, timeout_s=60.0, heartbeat_s=1.0, verbose=False)
    data = np.ones(100_000, np.float32)
    group.all_reduce(0, data, data, data.size, 11)
    print(int(data[-1]), group.topology()["matrix"][rank][1 - rank])
"""
ALONE = "2 direct\n"
NOBODY = """
    os.setuid(65534)
"""


@pytest.mark.parametrize("mode", MODES)
def test_ranks_in_two_network_namespaces_of_a_host_communicate_over_tcp(
    network: Callable[[int], Any], mode: str
) -> None:
    cable = network(2)
    cable.start(textwrap.dedent(PROGRAM) + textwrap.dedent(APART), mode)

    for out, err in cable.results():
        assert out == ALONE, err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_ranks_of_two_users_of_a_host_communicate_over_tcp(reserve_ports: Reserve) -> None:
    with reserve_ports(2) as ports:
        hosts = json.dumps(hosts_of(ports))
    # Free now: who holds a port for a rank must be of its user.
    ranks = [start(become + APART, rank, hosts, "gang") for rank, become in enumerate(("", NOBODY))]
    try:
        assert [rank.communicate(timeout=60)[0] for rank in ranks] == [ALONE] * 2
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
