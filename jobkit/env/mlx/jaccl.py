"""MLX's JACCL: RDMA over a mesh of devices, met at one address of rank 0."""

from __future__ import annotations

from jobkit.env.gang import Table

IBV_DEVICES, COORDINATOR, RING = "MLX_IBV_DEVICES", "MLX_JACCL_COORDINATOR", "MLX_JACCL_RING"


def variables(table: Table, address: str, devices_file: str, *, ring: bool) -> dict[str, str]:
    """Return JACCL's variables.

    Args:
        table: Everybody's reports.
        address: Rank 0's.
        devices_file: Path of the matrix of devices: row i, column j is what rank i uses to reach rank j.
        ring: Whether only neighbours are connected.
    """
    named = {IBV_DEVICES: devices_file, COORDINATOR: f"{address}:{table.reports[0].jaccl}"}
    return {**named, RING: "1"} if ring else named
