"""Recognise failures whose words do not say what to do."""

from __future__ import annotations

from jobkit import __version__

# `RuntimeError: [ring] Couldn't connect (error: 111)`: raised by init() after 31 s (mlx 0.32).
_RING = b"[ring] Couldn't connect"
_RING_HINT = (
    "MLX's ring could not connect to the next rank, which it tries for 15 s: some rank reached init() later "
    "than that, or never; call jobkit.native.barrier() before mx.distributed.init(), or use jobkit's own "
    "backend: import jobkit.native as dist"
)
# What is brought to a host over SSH serves agents and shims alone.
_NO_JOBKIT = (b"No module named 'jobkit", b"No module named jobkit")
_NO_JOBKIT_HINT = (
    "the program's Python has no jobkit; what is brought along is not for programs, and jobkit.native is "
    f"compiled: on that host, python -m pip install jobkit=={__version__}"
)


def hint(tail: bytes) -> str:
    """Return what the end of a failed rank's standard error means and the remedy, "" for anything else."""
    if any(words in tail for words in _NO_JOBKIT):
        return _NO_JOBKIT_HINT
    return _RING_HINT if _RING in tail else ""
