"""The mpi backend: an MPI library through mpi4py."""

from __future__ import annotations

from collections.abc import Mapping

from jobkit.errors import BackendError, complaint
from jobkit.native.group import Group
from jobkit.native.settings import integer

VARIABLES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")


def is_available(_: Mapping[str, str]) -> bool:
    """Return False: this version bundles ring only."""
    return False


def is_configured(environ: Mapping[str, str]) -> bool:
    """Return whether mpirun or mpiexec started this process as one of several."""
    return any((integer(environ, name) or 1) > 1 for name in VARIABLES)


def init(environ: Mapping[str, str], strict: bool) -> Group | None:
    """Return None where nothing is configured and `strict` is off.

    Raises:
        BackendError: This version bundles ring only, and MPI was asked for by name or started this process.
    """
    if not (strict or is_configured(environ)):
        return None
    hint = "set `backend: ring` in the spec, or pass --backend ring"
    raise BackendError(complaint("backend mpi", "not bundled in this version", expected="ring", hint=hint))
