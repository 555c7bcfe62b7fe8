"""The nccl backend: libnccl between NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Mapping

from jobkit.errors import BackendError, complaint
from jobkit.native.group import Group

VARIABLES = ("MLX_RANK", "MLX_WORLD_SIZE", "NCCL_HOST_IP", "NCCL_PORT")


def is_available(_: Mapping[str, str]) -> bool:
    """Return False: this version bundles ring only."""
    return False


def is_configured(environ: Mapping[str, str]) -> bool:
    """Return whether all of its variables are set."""
    return all(environ.get(name) for name in VARIABLES)


def init(environ: Mapping[str, str], strict: bool) -> Group | None:
    """Return None where nothing is configured and `strict` is off.

    Raises:
        BackendError: This version bundles ring only, and NCCL was asked for by name or by its variables.
    """
    if not (strict or is_configured(environ)):
        return None
    hint = "set `backend: ring` in the spec, or pass --backend ring"
    raise BackendError(complaint("backend nccl", "not bundled in this version", expected="ring", hint=hint))
