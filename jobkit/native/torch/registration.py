"""Make PyTorch know jobkit: its backend, its operations. Imports PyTorch only where it has been already."""

from __future__ import annotations

import os
import sys
from typing import Any

from jobkit.native.torch.compiling import keep_out

BACKEND = "jobkit"


def register() -> None:
    """Register the backend, and keep `torch.compile` out of the operations. Idempotent.

    No backend is registered where this PyTorch has no `torch.distributed`. It is also the entry point
    "torch.backends", which PyTorch calls at the end of its own import.
    """
    keep_out()
    distributed = sys.modules["torch"].distributed
    if distributed.is_available() and BACKEND not in distributed.Backend.backend_list:
        distributed.Backend.register_backend(BACKEND, _create, extended_api=True, devices=["cpu"])


def _create(options: Any, _: Any) -> Any:
    from jobkit.native.torch.process_group import create

    return create(options, os.environ)
