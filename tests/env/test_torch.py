from __future__ import annotations

from jobkit.env import torch
from jobkit.env.placement import Placement


def test_torch_finds_its_six_variables() -> None:
    assert torch.variables(Placement(5, 8, 1, 4, 1, 2, (None,) * 8), "10.0.0.1", 4000) == {
        "RANK": "5",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "4",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "4000",
    }
