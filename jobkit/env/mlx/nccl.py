"""MLX's NCCL: rank 0 hands out NCCL's unique id at one address."""

from __future__ import annotations

from jobkit.env.gang import Table

HOST_IP, PORT = "NCCL_HOST_IP", "NCCL_PORT"


def variables(table: Table, address: str) -> dict[str, str]:
    """Return NCCL's variables.

    Beside them each rank needs a device of its own: MLX takes device `rank % visible`, which is right for any
    rank only if no other rank sees those that this one sees.

    Args:
        table: Everybody's reports.
        address: Rank 0's.
    """
    return {HOST_IP: address, PORT: str(table.reports[0].nccl)}
