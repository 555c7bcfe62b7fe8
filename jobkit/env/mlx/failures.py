"""Recognise failures of MLX's own backends whose words do not say what to do."""

from __future__ import annotations

# `RuntimeError: [ring] Couldn't connect (error: 111)`: raised by init() after 31 s (mlx 0.32).
_RING = b"[ring] Couldn't connect"
_RING_HINT = (
    "MLX's ring could not connect to the next rank, which it tries for 15 s: some rank reached init() later "
    "than that, or never; call jobkit.native.barrier() before mx.distributed.init(), or use jobkit's own "
    "backend: import jobkit.native as dist"
)


def hint(tail: bytes) -> str:
    """Return what the end of a failed rank's standard error means and the remedy, "" for anything else."""
    return _RING_HINT if _RING in tail else ""
