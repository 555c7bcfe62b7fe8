from __future__ import annotations

from collections.abc import Callable

from jobkit.env.gang import Table
from jobkit.env.mlx import nccl


def test_rank_0_is_met_and_one_device_is_visible(make_table: Callable[..., Table]) -> None:
    assert nccl.variables(make_table(2), "10.0.0.1", "GPU-3") == {
        "NCCL_HOST_IP": "10.0.0.1",
        "NCCL_PORT": "40001",
        "CUDA_VISIBLE_DEVICES": "GPU-3",
    }
