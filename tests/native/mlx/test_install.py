"""`install` makes the engine what mx.distributed uses."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest

from jobkit.native import mlx as bridge

PROGRAM = """
import json, sys
import mlx.core as mx
from jobkit.native.mlx import install

install(); install()
group = mx.distributed.init()
x = mx.array([1.0, 2.0])
split = group.split(3)
try:
    mx.distributed.init(backend="jacl")
except ValueError as error:
    unknown = str(error)
try:
    mx.distributed.init(backend="jaccl", all_gather_factory=lambda rank, size: None)
except ValueError as error:
    factory = str(error)
try:
    mx.distributed.send(x, 0)
except ValueError as error:
    alone = str(error)
print(json.dumps({
    "size": [group.size(), split.size()],
    "same": group is mx.distributed.init() and isinstance(group, mx.distributed.Group),
    "available": [mx.distributed.is_available(b) for b in ("any", "ring", "unknown")],
    "sum": mx.distributed.all_sum(x).tolist(),
    "compiled": mx.compile(mx.distributed.all_sum)(x).tolist(),
    "unknown": unknown, "factory": factory, "alone": alone,
    "doc": mx.distributed.all_sum.__doc__.strip().splitlines()[0],
}))
"""


@pytest.fixture(scope="module")
def alone() -> Any:
    """What a program of one rank sees after `install`."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_program_of_one_rank_needs_no_check(alone: Any) -> None:
    assert alone["size"] == [1, 1]
    assert alone["same"] is True
    assert alone["sum"] == alone["compiled"] == [1, 2]
    assert "singleton" in alone["alone"]


def test_the_names_of_backends_are_checked(alone: Any) -> None:
    assert alone["available"] == [True, True, False]
    assert "got 'jacl'" in alone["unknown"]
    assert "all_gather_factory" in alone["factory"]


def test_an_unmodified_program_runs_on_the_engine(start_ranks: Any) -> None:
    def run(rank: Any) -> Any:
        bridge.install()
        world = mx.distributed.init()
        if rank.rank == 1:
            mx.eval(mx.distributed.send(mx.array([41]), 2))
        received = mx.distributed.recv_like(mx.array([0]), 1).item() if rank.rank == 2 else None
        return (
            world is rank.group,
            mx.distributed.all_sum(mx.ones(2)).tolist(),
            nn.average_gradients({"w": mx.array([float(world.rank())])})["w"].item(),
            received,
        )

    same = (True, [3, 3], 1.0)
    assert start_ranks(3)(run) == [(*same, None), (*same, None), (*same, 41)]
