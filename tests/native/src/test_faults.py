"""Every fault and what the ranks raise: the table in docs/faults.md.

JOBKIT_REGENERATE=1 writes the table anew, with this machine's times: run this file alone, in one process.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobkit.native import _core

REGENERATE = "JOBKIT_REGENERATE" in os.environ  # read now: no test sees the variables of a launcher
TABLE = Path(__file__).resolve().parents[3] / "docs" / "faults.md"
SUM, MAX = 0, 1
UINT8, FLOAT32 = 1, 11
MORE_THAN_IS_KEPT = 96 << 20
Processes = Callable[..., Any]

rows: dict[str, tuple[list[str], list[float]]] = {}  # [fault]: texts and seconds of the ranks that raised


@dataclass(frozen=True)
class Fault:
    """What goes wrong with rank 1 of 3 while ranks 0 and 2 are in all_sum #2.

    Attributes:
        does: What rank 1 does when it is told to.
        befalls: What the test does to rank 1 from outside: a signal.
        expected: A pattern that every text of ranks 0 and 2 matches.
        raises: Whether rank 1 raises too.
        timeout_s: That of the ranks that wait; below 0: none of their own.
        group_timeout_s: JOBKIT_TIMEOUT_S.
    """

    expected: str
    does: Callable[[Any], object] = lambda _: time.sleep(60)
    befalls: int | None = None
    raises: bool = False
    timeout_s: float = -1.0
    group_timeout_s: float = 60.0


def total(group: Any, timeout_s: float = -1.0, count: int = 4) -> None:
    data = np.ones(count, np.float32)
    group.all_reduce(SUM, data, data, count, FLOAT32, timeout_s=timeout_s)


def other_operation(group: Any) -> None:
    data = np.ones(4, np.float32)
    group.all_reduce(MAX, data, data, 4, FLOAT32)
    group.barrier()


def abort(group: Any) -> None:
    group.abort("the loss is NaN")
    group.barrier()


def receive(group: Any) -> None:
    group.recv(np.ones(1, np.float32), 1, FLOAT32, 0, 7)


def send_much(group: Any) -> None:
    data = np.ones(MORE_THAN_IS_KEPT, np.uint8)
    group.send(data, data.size, UINT8, 0, 7)


def interrupt(group: Any) -> None:
    threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
    receive(group)


def fork_and_die(group: Any) -> None:
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


GONE = r"all_sum #2: rank 1 \(node\) is gone: "
FAULTS = {
    "the process is killed": Fault(GONE, befalls=signal.SIGKILL),
    "the process is killed, a forked child lives on": Fault(GONE, does=fork_and_die),
    "the process ends without a word": Fault(GONE, does=lambda _: os._exit(3)),
    "the process is stopped": Fault(
        r"rank 1 \(node\) is stopped or cut off: it has answered nothing for 5\.0 s", befalls=signal.SIGSTOP
    ),
    "the rank leaves early": Fault(
        r"all_sum #2: rank 1 \(node\) left after all_sum #1", does=lambda group: group.close()
    ),
    "the rank comes too late for timeout=2": Fault(
        r"all_sum #2: waited 2\.0 s for rank 1 \(node\), which is alive and has not called it yet",
        timeout_s=2,
    ),
    "another operation": Fault(
        r"calls differ: (?=.* called all_sum\(float32, 4 elements\)).* called all_max\(float32, 4 elements\)",
        does=other_operation,
        raises=True,
    ),
    "another count": Fault(
        r"calls differ: (?=.* called all_sum\(float32, 4 elements\)).* called all_sum\(float32, 3 elements\)",
        does=lambda group: [total(group, count=3), group.barrier()],
        raises=True,
    ),
    "a deadlock: the rank waits for a message": Fault(
        r"in a deadlock: rank 0 \(node\) waits in all_sum #2, rank 1 \(node\) waits in recv from rank 0 ",
        does=receive,
        raises=True,
        group_timeout_s=3,
    ),
    "a deadlock: the rank waits in a send": Fault(
        r"in a deadlock: rank 0 \(node\) waits in all_sum #2, rank 1 \(node\) waits in send to rank 0 ",
        does=send_much,
        raises=True,
        group_timeout_s=3,
    ),
    "the program aborts the group": Fault(r"aborted: the loss is NaN", does=abort, raises=True),
    "Ctrl-C in the rank, 0.3 s later": Fault(r"recv from rank 0 \(node\): interrupted", does=interrupt),
}


def endure(group: Any, pipe: Any) -> Any:
    """Sum, then meet the fault: the second sum's error and its moment; Linux counts time alike everywhere."""
    host = group.topology()["ranks"][0]["host"]
    total(group)
    pipe.send("ready")
    name = pipe.recv()
    try:
        if group.rank == 1:
            FAULTS[name].does(group)
        else:
            total(group, FAULTS[name].timeout_s)
    except _core.Error as error:
        return time.monotonic(), str(error).replace(f"({host})", "(node)"), error.culprit
    return None


@pytest.mark.parametrize("shared", [True, False], ids=["memory", "tcp"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_by_every_rank(processes: Processes, name: str, shared: bool) -> None:
    fault = FAULTS[name]
    ranks = processes(3, endure, shared_memory=shared, timeout_s=fault.group_timeout_s)
    for rank in range(3):
        assert ranks.receive(rank) == "ready"
    for rank in (0, 2):
        ranks.tell(rank, name)
    time.sleep(0.5)
    began = time.monotonic()
    ranks.tell(1, name)
    if fault.befalls is not None:
        ranks.signal(1, fault.befalls)

    told = {rank: ranks.receive(rank) for rank in ([0, 1, 2] if fault.raises else [0, 2])}
    for rank, (_, text, _) in told.items():
        assert text.startswith(f"[ring] rank {rank} of 3: ")
        assert re.search(fault.expected, text), text
    if not shared:
        rows[name] = [each[1] for each in told.values()], [each[0] - began for each in told.values()]


CABLE = """
import json, sys, time
import numpy as np
from jobkit.native import _core

rank, hosts = int(sys.argv[1]), json.loads(sys.argv[2])
options = dict(job="j", epoch=0, token=b"t", connect_timeout_s=30.0, timeout_s=30.0, heartbeat_s=1.0)
group = _core.connect(rank, hosts, mode="hostfile", verbose=False, **options)
host = group.topology()["ranks"][0]["host"]


def total(count):
    data = np.ones(count, np.float32)
    group.all_reduce(0, data, data, count, 11)
    assert (data == len(hosts)).all()


total(4)
print("ready", flush=True)
sys.stdin.readline()
try:
    if rank == 1 and sys.argv[3] == "cut":
        time.sleep(30)
    total(4 if sys.argv[3] == "cut" else 500_000)
except _core.Error as error:
    print(json.dumps([time.monotonic(), str(error).replace(f"({host})", "(node)")]))
else:
    print(json.dumps("no error"))
"""

CUT = r"rank 1 \(node\) is (gone: |stopped or cut off: it has answered nothing for 5\.0 s)"
CUTS: dict[str, list[list[str]]] = {
    "the cable is pulled (ip link set down)": [["ip", "link", "set", "DEVICE", "down"]],
    "all packets are dropped (nftables)": [
        ["nft", "add", "table", "inet", "jk"],
        ["nft", "add", "chain", "inet", "jk", "in", "{ type filter hook input priority 0; policy drop; }"],
    ],
}


def cabled(network: Any, how: str, commands: list[list[str]], rank: int) -> list[Any]:
    """Run three ranks on cables, and the commands at one of them, for all its devices, once all have met."""
    programs = network.start(CABLE, how)
    for program in programs:
        assert program.stdout.readline() == "ready\n", program.communicate()[1]
    for program in (programs[0], programs[2]):
        program.stdin.write("go\n")
        program.stdin.flush()
    time.sleep(0.5)
    devices = [network.device(rank, "near"), network.device((rank - 1) % 3, "far")]
    began = time.monotonic()
    for command in commands:
        for device in devices if "DEVICE" in command else devices[:1]:
            network.inside(rank, *[device if word == "DEVICE" else word for word in command])
    programs[1].stdin.write("go\n")
    programs[1].stdin.flush()
    waited = (0, 2) if how == "cut" else (0, 1, 2)
    said = [json.loads(programs[each].stdout.readline()) for each in waited]
    return [began, *said]


@pytest.mark.parametrize("name", CUTS)
def test_a_cut_cable_is_told_by_the_others(network: Callable[[int], Any], name: str) -> None:
    began, *told = cabled(network(3), "cut", CUTS[name], 1)

    for rank, (_, text) in zip((0, 2), told, strict=True):
        assert text.startswith(f"[ring] rank {rank} of 3: all_sum #2: ")
        assert re.search(CUT, text), text
    rows[name] = [text for _, text in told], [moment - began for moment, _ in told]


SLOW: dict[str, list[list[str]]] = {
    "a rate limit (tbf)": [
        [
            "tc",
            "qdisc",
            "add",
            "dev",
            "DEVICE",
            "root",
            "tbf",
            "rate",
            "20mbit",
            "burst",
            "32k",
            "latency",
            "300ms",
        ]
    ],
    "packets lost now and then (nftables)": [
        ["nft", "add", "table", "inet", "jk"],
        ["nft", "add", "chain", "inet", "jk", "in", "{ type filter hook input priority 0; }"],
        ["nft", "add", "rule", "inet", "jk", "in", "numgen", "random", "mod", "100", "<", "3", "drop"],
    ],
}


@pytest.mark.parametrize("name", SLOW)
def test_a_bad_network_is_no_fault(network: Callable[[int], Any], name: str) -> None:
    assert cabled(network(3), "slow", SLOW[name], 1)[1:] == ["no error"] * 3


HEAD = """# Faults

What the ranks of a job raise when something goes wrong with rank 1 of 3, while ranks 0 and 2 are in
`all_sum`, for half a second already. The numbers are seconds from the fault to the error on each rank that
raises, in rank order, over TCP, on two cores that other programs used as well, with the settings' defaults;
for the deadlocks JOBKIT_TIMEOUT_S was 3. A limited rate and lost packets are no faults: operations take
longer.

`tests/native/src/test_faults.py` makes these faults, checks the texts over TCP and over shared memory, and
writes this table (`JOBKIT_REGENERATE=1`).

| fault | what rank 0 raises | seconds |
| --- | --- | --- |
"""


def test_the_table_tells_of_every_fault() -> None:
    expected = {name: fault.expected for name, fault in FAULTS.items()} | dict.fromkeys(CUTS, CUT)
    if REGENERATE:
        assert rows.keys() == expected.keys(), "run the whole file in one process, as root"
        lines = [
            f"| {name} | `{rows[name][0][0]}` | {', '.join(f'{s:.2f}' for s in rows[name][1])} |"
            for name in expected
        ]
        TABLE.write_text(HEAD + "\n".join(lines) + "\n")
    told = dict(re.findall(r"^\| (.+?) \| `(.+)` \| [\d., ]+ \|$", TABLE.read_text(), re.MULTILINE))
    assert told.keys() == expected.keys()
    for name, pattern in expected.items():
        assert re.search(pattern, told[name])
