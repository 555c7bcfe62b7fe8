from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.env import ports
from jobkit.env.gang import Report, Table
from jobkit.env.mlx import ring

Make = Callable[..., Table]
MakeReport = Callable[..., Report]


@pytest.mark.parametrize(
    ("ports", "addresses", "rows"),
    [
        (((1,),), (("a",), ("b",)), [["a:1"], ["b:1"]]),
        (((1, 2),), (("a",), ("b",)), [["a:1", "a:2"], ["b:1", "b:2"]]),
        # One row of ports is held on every address.
        (((1, 2),), (("a", "x"), ("b", "y")), [["a:1", "a:2", "x:1", "x:2"], ["b:1", "b:2", "y:1", "y:2"]]),
        (((1, 2), (3, 4)), (("a", "x"),) * 2, [["a:1", "a:2", "x:3", "x:4"]] * 2),
        # MLX refuses rows of different lengths.
        (((1,),), (("a", "x"), ("b",)), [["a:1"], ["b:1"]]),
    ],
)
def test_a_row_per_rank_with_every_port_of_every_address(
    make_table: Make, ports: Any, addresses: Any, rows: list[list[str]]
) -> None:
    assert json.loads(ring.hostfile(make_table(2, ring=ports), addresses)) == rows


def test_each_rank_has_its_own_ports(make_table: Make) -> None:
    loopback = (("127.0.0.1",),) * 2
    assert ring.hostfile(make_table(2), loopback) == '[["127.0.0.1:20000"], ["127.0.0.1:20001"]]'


def test_the_variable_names_the_file() -> None:
    assert ring.variables("/run/hosts.json") == {"MLX_HOSTFILE": "/run/hosts.json"}


# Prints the sum, then the addresses of this rank at which the rank before it is connected.
SUM = """
import mlx.core as mx
group = mx.distributed.init(strict=True, backend="ring")
print(mx.distributed.all_sum(mx.ones(1 << 20) * (group.rank() + 1)).sum().item())
rows = [line.split() for line in open("/proc/net/tcp").readlines()[1:]]
ends = [row[1].split(":") for row in rows if row[3] == "01"]
for address, port in ends:
    print(".".join(str(byte) for byte in reversed(bytes.fromhex(address))), int(port, 16), sep=":")
mx.eval(mx.distributed.all_sum(mx.ones(1)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/net/tcp and all of 127/8")
def test_mlx_connects_over_every_port_of_every_address(make_report: MakeReport, tmp_path: Path) -> None:
    pytest.importorskip("mlx.core")
    held = [[ports.reserve(ports.EVERY_ADDRESS, ports.REUSEPORT, None) for _ in range(2)] for _ in range(2)]
    rows = [tuple(reservation.port for reservation in row) for row in held]
    table = Table(tuple(make_report(rank, ring=(row,)) for rank, row in enumerate(rows)), "")
    file = tmp_path / "hosts.json"
    file.write_text(ring.hostfile(table, (("127.0.0.1", "127.0.0.2"),) * 2))

    said = run_ranks(2, SUM, {"MLX_HOSTFILE": str(file)})
    for reservation in itertools.chain(*held):
        ports.release(reservation)

    for rank, (total, *connected) in enumerate(said):
        assert total == str(float(3 << 20))
        addresses = {f"{ip}:{port}" for ip in ("127.0.0.1", "127.0.0.2") for port in rows[rank]}
        assert addresses <= {*connected}


def run_ranks(size: int, program: str, environ: dict[str, str]) -> list[list[str]]:
    """Return the words that each rank printed."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={**environ, "MLX_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    said = [process.communicate(timeout=60) for process in started]
    assert all(process.returncode == 0 for process in started), said
    return [out.split() for out, _ in said]
