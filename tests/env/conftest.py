"""Reports of a gang, without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobkit.env.gang import Report, Table


def report(rank: int, **differs: Any) -> Report:
    """Return rank R's report: ring port 20000+R, layer port 30000+R, the others' 4000x on rank 0."""
    first = rank == 0
    values: dict[str, Any] = {
        "rank": rank,
        "local_rank": rank,
        "host": "node-1",
        "node": "boot:1",
        "addresses": (),
        "jobkit": "0.1.0",
        "mlx": "0.32.0",
        "spec": "",
        "devices": (),
        "cuda_build": False,
        "ring": ((20000 + rank,),),
        "layer": 30000 + rank,
        "torch": 40000 if first else 0,
        "nccl": 40001 if first else 0,
        "jaccl": 40002 if first else 0,
    }
    return Report(**{**values, **differs})


@pytest.fixture
def make_report() -> Callable[..., Report]:
    """Make one rank's report."""
    return report


@pytest.fixture
def make_table() -> Callable[..., Table]:
    """Make the table of a number of ranks, all with the same differences from the defaults."""
    return lambda size, **differs: Table(tuple(report(rank, **differs) for rank in range(size)), "ab" * 32)
