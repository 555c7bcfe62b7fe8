"""MLX's NCCL: rank 0 hands out NCCL's unique id at one address."""

from __future__ import annotations

from jobkit.env.gang import Table

HOST_IP, PORT, DEVICES = "NCCL_HOST_IP", "NCCL_PORT", "CUDA_VISIBLE_DEVICES"


def variables(table: Table, address: str, device: str) -> dict[str, str]:
    """Return NCCL's variables.

    Args:
        table: Everybody's reports.
        address: Rank 0's.
        device: This rank's one device. MLX takes device `rank % visible`, which is right for any rank only if
            one is visible.
    """
    return {HOST_IP: address, PORT: str(table.reports[0].nccl), DEVICES: device}
