"""Two levels where they are real: two hosts with a cable between them, two ranks on each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from jobkit.native import _core

MIB = 1 << 20

# The program of a host: its ranks are children.
RANKS = """
import json, os, sys
from pathlib import Path
import numpy as np
from jobkit.native import _core

host, addresses, counts = int(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
places = json.loads(sys.argv[4])  # of each rank: its host
hosts = [[f"{addresses[place][0].rpartition(':')[0]}:{6000 + rank}"] for rank, place in enumerate(places)]
FLOAT32, SUM = 11, 0

def given(rank, count):
    bits = np.random.default_rng([rank, count])
    return (bits.standard_normal(count) * 10.0 ** bits.integers(-6, 6, count)).astype(np.float32)

def n_sent():
    return int(Path(f"/sys/class/net/jk0{'far' if host else 'near'}/statistics/tx_bytes").read_text())

def program(rank):
    group = _core.connect(rank, hosts, mode="gang", job="levels", epoch=0, token=b"t", connect_timeout_s=30.0,
                          timeout_s=30.0, heartbeat_s=1.0, verbose=False)
    found = {"matrix": group.topology()["matrix"], "sum": [], "broadcast": []}
    parts = [[given(p, count) for p in range(4)] for count in counts]
    for count, (a, b, c, d) in zip(counts, parts):
        x, total = [a, b, c, d][rank], np.empty(count, np.float32)
        group.all_reduce(SUM, x, total, count, FLOAT32)  # what comes after is counted
        group.barrier()
        before = n_sent()
        group.all_reduce(SUM, x, total, count, FLOAT32)
        group.barrier()
        sent = n_sent() - before
        expected = (a + b) + (c + d)
        assert expected.tobytes() != (((a + b) + c) + d).tobytes() != ((a + c) + (b + d)).tobytes()
        found["sum"].append([total.tobytes() == expected.tobytes(), sent / total.nbytes])
        for root in range(4):
            data = [a, b, c, d][root].copy() if rank == root else np.empty(count, np.float32)
            group.barrier()
            before = n_sent()
            group.broadcast(data, count, FLOAT32, root)
            group.barrier()
            sent = n_sent() - before
            found["broadcast"].append([data.tobytes() == [a, b, c, d][root].tobytes(), sent / data.nbytes])
    group.close()
    return found

children = []
for rank in [rank for rank, place in enumerate(places) if place == host]:
    source, sink = os.pipe()
    if not (child := os.fork()):
        try:
            os.write(sink, json.dumps([rank, program(rank)]).encode())
            os._exit(0)
        except BaseException as error:
            print(rank, repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    os.close(sink)
    children.append(source)
for source in children:
    text = b"".join(iter(lambda: os.read(source, 65536), b""))
    print(text.decode())
"""


def run(network: Callable[[int], Any], places: list[int], counts: list[int]) -> list[dict[str, Any]]:
    """Return what each rank found, in rank order."""
    cable = network(2)
    cable.start(RANKS, json.dumps(counts), json.dumps(places))
    found = {}
    for output, errors in cable.results():
        for line in output.splitlines():
            rank, result = json.loads(line or f"[-1, {json.dumps(errors)}]")
            assert rank >= 0, errors
            found[rank] = result
    return [found[rank] for rank in range(len(places))]


def schedule(call: int, count: int, places: list[int]) -> str:
    return str(_core.plan(call, 0, len(places), count, nodes=places, links="mixed")[0])


def test_between_two_hosts_large_sums_and_broadcasts_take_two_levels(
    network: Callable[[int], Any],
) -> None:
    places, count = [0, 0, 1, 1], 2 * MIB
    assert [schedule(call, count, places) for call in (0, 7)] == ["two-level"] * 2

    for rank, found in enumerate(run(network, places, [count])):
        assert found["matrix"][rank].count("shm") == 1
        assert found["matrix"][rank].count("direct") == 2
        ((is_exact, n_sent),) = found["sum"]
        assert is_exact, "not the fixed tree"
        assert 0.9 < n_sent < 1.3, "each byte crosses once; by two-shot it would be twice"
        for root, (is_equal, n_sent) in enumerate(found["broadcast"]):
            assert is_equal
            assert n_sent < (1.3 if places[root] == places[rank] else 0.3), "a byte crossed twice"


@pytest.mark.parametrize("places", [[0, 0, 1, 1], [0, 1, 0, 1]], ids=["in rank order", "in turn"])
def test_every_size_gives_the_same_on_every_rank(network: Callable[[int], Any], places: list[int]) -> None:
    counts = [1000, 4096, 16 * 1024, 16 * 1024 + 1, 100_003]

    for found in run(network, places, counts):
        by_levels = [schedule(0, count, places) == "two-level" for count in counts]
        assert by_levels == [False, False, False, True, True]
        in_order = places == sorted(places)
        for (is_exact, _), levels in zip(found["sum"], by_levels, strict=True):
            assert is_exact or (levels and not in_order)
        assert all(is_equal for is_equal, _ in found["broadcast"])
