from __future__ import annotations

from collections.abc import Callable

from jobkit.env.gang import Table
from jobkit.env.mlx import nccl


def test_rank_0_is_met(make_table: Callable[..., Table]) -> None:
    assert nccl.variables(make_table(2), "10.0.0.1") == {
        "NCCL_HOST_IP": "10.0.0.1",
        "NCCL_PORT": "40001",
    }
