"""Where only neighbours reach each other, the ranks in between pass on what the others say to each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Network = Callable[[int], Any]
CORE = str(Path(__file__).with_name("test_core.py"))

START = """
import importlib.util, json, sys, time
import numpy as np
from jobkit.native import _core

rank, hosts = int(sys.argv[1]), json.loads(sys.argv[2])
options = dict(job="j", epoch=0, token=b"t", connect_timeout_s=30.0, timeout_s=30.0, heartbeat_s=1.0)
n = len(hosts)


def connect(**changed):
    return _core.connect(rank, hosts, mode="hostfile", verbose=True, **(options | changed))


def every_operation(count):
    spec = importlib.util.spec_from_file_location("core", sys.argv[3])
    core = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(core)
    return core.every_operation(count)


def error_of(call):
    try:
        call()
    except _core.Error as error:
        print(error.culprit, error)
    else:
        print("no error")
"""


def test_any_two_ranks_of_a_ring_of_cables_and_any_part_of_them_communicate(network: Network) -> None:
    program = """
group = connect()
topology = group.topology()
assert topology["kind"] == "neighbours", topology
assert topology["matrix"][0] == ["self", "direct", "relayed", "direct"], topology
for count in (0, 1, 7, 1024, 300_000):
    every_operation(count)(group)
for count in (1, 1_000_000):
    for hop in range(1, n):
        to, source = (rank + hop) % n, (rank - hop) % n
        mine, theirs = np.full(count, rank, np.float32), np.empty(count, np.float32)
        group.sendrecv(mine, count, to, theirs, count, source, 11, hop)
        assert (theirs == source).all()
for colors in ([0, 1, 0, 1], [0, None, 0, 0], [0, 0, 1, 1]):
    part = group.split(colors[rank])
    if part is not None:
        every_operation(1000)(part)
        every_operation(300_000)(part)
print("done")
"""
    ring = network(4)
    ring.start(START + program, CORE)

    for out, err in ring.results():
        assert out == "done\n", err
        assert "messages with rank " in err
        assert " go through the ranks between" in err


def test_pairs_between_which_everything_vanishes_hold_up_the_meeting_for_a_moment_only(
    network: Network,
) -> None:
    """Each rank sends what is for others to a neighbour that passes nothing on and says nothing."""
    program = """
group = connect(connect_timeout_s=20.0)
assert group.topology()["kind"] == "neighbours", group.topology()
every_operation(100)(group)
print("done")
"""
    ring = network(4)
    for rank in range(4):
        ring.inside(rank, "sysctl", "-qw", "net.ipv4.ip_forward=0")
        ring.inside(rank, "ip", "route", "add", "default", "via", f"10.77.{rank}.2")
    ring.start(START + program, CORE)

    for out, err in ring.results():
        assert out == "done\n", err


def test_a_long_ring_passes_messages_over_several_ranks(network: Network) -> None:
    program = """
group = connect()
mine, theirs = np.full(200_000, rank, np.float32), np.empty(200_000, np.float32)
for hop in (3, 2):
    group.sendrecv(mine, mine.size, (rank + hop) % n, theirs, theirs.size, (rank - hop) % n, 11, 0)
    assert (theirs == (rank - hop) % n).all()
pair = group.split(rank % 3)
every_operation(5000)(pair)
print("done")
"""
    ring = network(6)
    ring.start(START + program, CORE)

    for out, err in ring.results():
        assert out == "done\n", err


def test_what_a_leaver_sent_through_others_arrives_though_all_leave_at_once(network: Network) -> None:
    program = """
group = connect()
data = np.full(50_000, 7, np.float32)
if rank in (0, 1):
    for tag in range(5):
        group.send(data, data.size, 11, rank + 2, tag)
elif rank in (2, 3):
    time.sleep(1)
    for tag in range(5):
        data[:] = 0
        group.recv(data, data.size, 11, rank - 2, tag)
        assert (data == 7).all()
group.close()
print("done")
"""
    ring = network(4)
    ring.start(START + program)

    for out, err in ring.results():
        assert out == "done\n", err


def test_a_message_that_nobody_takes_holds_up_no_other(network: Network) -> None:
    """Of rank 0's 100 MB for rank 2, rank 1 keeps a window; what it passes on for others gets by."""
    program = """
import threading
group = connect(timeout_s=60.0)
whole = group.split(0)
big = np.ones(100 << 20, np.uint8)
sender = threading.Thread(target=lambda: group.send(big, big.size, 1, 2, 0))
if rank == 0:
    sender.start()
for count in (1, 1000):
    every_operation(count)(whole)
if rank == 2:
    big[:] = 0
    group.recv(big, big.size, 1, 0, 0)
    assert big.all()
if rank == 0:
    sender.join()
group.barrier()
print("done")
"""
    ring = network(4)
    ring.start(START + program, CORE)

    for out, err in ring.results():
        assert out == "done\n", err


@pytest.mark.parametrize("how", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGSTOP)", "group.close()"])
def test_the_rank_that_is_lost_is_named_by_those_that_knew_it_through_others(
    network: Network, how: str
) -> None:
    program = f"""
import os, signal
group = connect(heartbeat_s=0.2)
group.barrier()
if rank == 1:
    {how}
    sys.exit()
time.sleep(0.3)
data = np.ones(1, np.float32)
if rank == 3:
    error_of(lambda: group.recv(data, 1, 11, 1, 0))
else:
    error_of(lambda: group.recv(data, 1, 11, 2 - rank, 0))
"""
    ring = network(4)
    programs = ring.start(START + program)

    said = [programs[rank].communicate(timeout=60) for rank in (0, 2, 3)]
    programs[1].kill()
    for rank, (out, err) in zip((0, 2, 3), said, strict=True):
        assert out.startswith(f"1 [ring] rank {rank} of 4: recv from rank "), out + err
        assert " rank 1 (" in out


@pytest.mark.parametrize("how", ["os.kill(os.getpid(), signal.SIGSTOP)", "time.sleep(20)"])
def test_the_chain_of_waits_leads_through_others_to_a_rank_that_is_no_neighbour(
    network: Network, how: str
) -> None:
    """Rank 0 waits for 1, which waits for 3, which waits for 2: 1 and 3 are no neighbours, nor 0 and 2."""
    program = f"""
import os, signal
group = connect(heartbeat_s=0.0, timeout_s=1.0)
group.barrier()
data = np.ones(1, np.float32)
if rank == 2:
    {how}
if rank == 0:
    time.sleep(0.5)
source = {{0: 1, 1: 3, 2: 0, 3: 2}}[rank]
error_of(lambda: group.recv(data, 1, 11, source, 5, timeout_s=1.0 if rank == 0 else -1.0))
"""
    ring = network(4)
    programs = ring.start(START + program)

    out, err = programs[0].communicate(timeout=60)
    host = r"\(.*?\)"
    chain = (
        rf"2 \[ring\] rank 0 of 4: recv from rank 1 {host}: waited 1\.\d s for rank 1 {host},"
        rf" which waits in recv from rank 3 {host} with tag 5 for rank 3 {host},"
        rf" which waits in recv from rank 2 {host} with tag 5 for rank 2 {host}, which "
    )
    assert re.match(chain, out), out + err
    assert ("does not answer" if "SIGSTOP" in how else "is alive and has not called its part yet") in out
