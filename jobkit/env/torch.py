"""The variables of `torch.distributed`'s `env://` rendezvous."""

from __future__ import annotations

from jobkit.env import names
from jobkit.env.placement import Placement

PORT = "MASTER_PORT"


def variables(placement: Placement, address: str, port: int) -> dict[str, str]:
    """Return torch's six variables; `address` and `port` are where rank 0's store will listen."""
    values = (placement.rank, placement.size, placement.local_rank, placement.local_size, address, port)
    return {name: str(value) for name, value in zip(names.TORCH, values, strict=True)}
