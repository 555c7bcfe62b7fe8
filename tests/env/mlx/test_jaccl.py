from __future__ import annotations

from collections.abc import Callable

import pytest

from jobkit.env.gang import Table
from jobkit.env.mlx import jaccl


@pytest.mark.parametrize(("ring", "more"), [(False, {}), (True, {"MLX_JACCL_RING": "1"})])
def test_rank_0_is_met_and_the_devices_are_named(
    make_table: Callable[..., Table], ring: bool, more: dict[str, str]
) -> None:
    found = jaccl.variables(make_table(2), "10.0.0.1", "/run/devices.json", ring=ring)
    assert found == {
        "MLX_IBV_DEVICES": "/run/devices.json",
        "MLX_JACCL_COORDINATOR": "10.0.0.1:40002",
        **more,
    }
