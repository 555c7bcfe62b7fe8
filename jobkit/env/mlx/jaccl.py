"""MLX's JACCL: RDMA between hosts that a matrix of devices connects, met at one address of rank 0."""

from __future__ import annotations

import sys

from jobkit.env.gang import Table

IBV_DEVICES, COORDINATOR, RING = "MLX_IBV_DEVICES", "MLX_JACCL_COORDINATOR", "MLX_JACCL_RING"
BACKENDS = ("jaccl", "jaccl-ring")
MLX_HAS_IT = sys.platform == "darwin"


def variables(table: Table, address: str, devices_file: str, *, ring: bool) -> dict[str, str]:
    """Return JACCL's variables. Programs of its own library read these names too, after JACCL_'s.

    Args:
        table: Everybody's reports.
        address: Rank 0's.
        devices_file: Path of the matrix of devices: row i, column j is what rank i uses to reach rank j.
        ring: Whether only neighbours are connected.
    """
    named = {IBV_DEVICES: devices_file, COORDINATOR: f"{address}:{table.reports[0].jaccl}"}
    return {**named, RING: "1"} if ring else named
