"""The nccl backend: libnccl between NVIDIA GPUs, one a rank; arrays in the host's memory by the engine."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jobkit.errors import BackendError, complaint
from jobkit.native import gangfile, ring
from jobkit.native.group import Group
from jobkit.native.settings import integer, settings

if TYPE_CHECKING:
    from jobkit.native.nccl.plane import Terms

MLX_RANK, MLX_WORLD_SIZE = "MLX_RANK", "MLX_WORLD_SIZE"
HOST_IP, PORT = "NCCL_HOST_IP", "NCCL_PORT"
TIMEOUT = "MLX_NCCL_TIMEOUT"  # in milliseconds
VARIABLES = (MLX_RANK, MLX_WORLD_SIZE, HOST_IP, PORT)
LOCAL_RANK = "JOBKIT_LOCAL_RANK"


def is_available(environ: Mapping[str, str]) -> bool:
    """Return whether libnccl and a CUDA device are there; where not, the log says why."""
    reason = missing(environ)
    if reason:
        logging.getLogger(__name__).info("not available: %s", reason)
    return not reason


def missing(environ: Mapping[str, str]) -> str:
    """Return what this backend lacks here, "" where nothing."""
    if not ring.is_available(environ):
        return "the engine was not built for this Python"
    try:
        _parts(environ, 0)
    except BackendError as error:
        return str(error)
    return ""


def is_configured(environ: Mapping[str, str]) -> bool:
    """Return whether all of its variables are set."""
    return all(environ.get(name) for name in VARIABLES)


def init(environ: Mapping[str, str], strict: bool) -> Group | None:
    """Return the group that the environment describes. Collective: every rank of it.

    The ranks meet through JOBKIT_GANG_FILE (with JOBKIT_TOKEN_FILE), else at NCCL_HOST_IP:NCCL_PORT.

    Returns:
        The group; None when nothing is configured and `strict` is off.

    Raises:
        BackendError: Nothing is configured and `strict` is on, what is configured is wrong, the ranks did not
            meet in time, or one of them has no device, no library, or another version of it.
    """
    if not is_configured(environ):
        if not strict:
            return None
        unset = ", ".join(name for name in VARIABLES if not environ.get(name))
        hint = "start the program with `jobkit launch --backend nccl` or `jobkit exec --backend nccl`"
        raise BackendError(complaint("backend nccl", f"not configured: {unset} not set", hint=hint))
    rank, size = _number(environ, MLX_RANK), _number(environ, MLX_WORLD_SIZE)
    if not 0 <= rank < size:
        raise BackendError(
            complaint(MLX_RANK, "no such rank", got=rank, expected=f"0 to {MLX_WORLD_SIZE} - 1 = {size - 1}")
        )
    if size == 1:
        return Group(None, backend="nccl")
    group = _meet(environ, rank, size)
    try:
        group.backend, group.devices = "nccl", _plane(group, environ)
    except BaseException:
        group.close()
        raise
    return group


def connect_timeout_s(environ: Mapping[str, str]) -> float:
    """Return the seconds until the ranks must have met: MLX_NCCL_TIMEOUT, or that of all backends.

    Raises:
        BackendError: It is no number.
    """
    milliseconds = integer(environ, TIMEOUT)
    return settings(environ).connect_timeout_s if milliseconds is None else milliseconds / 1000


def _meet(environ: Mapping[str, str], rank: int, size: int) -> Group:
    """Return the engine's group of all ranks."""
    if environ.get(ring.GANG_FILE):
        return ring.connect(ring.meeting(environ), environ)
    from jobkit.native.nccl.meeting import Place, meet  # by hand, or under MLX's own launcher

    token_file = environ.get(ring.TOKEN_FILE)
    token = gangfile.read_token(token_file) if token_file else b""
    port, limit = _number(environ, PORT), connect_timeout_s(environ)
    if not 0 < port < 65536:
        raise BackendError(complaint(PORT, "no port", got=port, expected="1 to 65535"))
    with meet(Place(environ[HOST_IP], port, rank, size, token, limit)) as where:
        return ring.connect(where, environ)


def _plane(group: Group, environ: Mapping[str, str]) -> Any:
    """Return the group's plane of device arrays, or tell all ranks why there is none. Collective."""
    core = group.core
    assert core is not None, "a group of one has nobody to exchange arrays with"
    try:
        nccl, device, version = _parts(environ, _local_rank(environ, group.rank()))
    except BackendError as error:
        core.abort(str(error))
        raise
    _check_version(core, version)
    plane = importlib.import_module("jobkit.native.nccl.plane")
    chosen = settings(environ)
    terms: Terms = plane.Terms(nccl, device, connect_timeout_s(environ), chosen.timeout_s, chosen.checks)
    made = plane.Plane(core, terms)
    made.connect()
    return made


def _parts(environ: Mapping[str, str], local_rank: int) -> tuple[Any, Any, int]:
    """Return the library, this rank's device, and the library's version as it numbers it.

    Raises:
        BackendError: One of them is not there.
    """
    cuda = importlib.import_module("jobkit.native.nccl.cuda")
    library = importlib.import_module("jobkit.native.nccl.library")
    nccl = library.load(environ)
    driver = cuda.driver(environ)
    n_devices = driver.n_devices()
    if n_devices == 0:
        expected = "one that CUDA_VISIBLE_DEVICES leaves"
        raise BackendError(complaint("backend nccl", "no CUDA device", expected=expected))
    major, minor, patch = library.version(nccl)
    return nccl, cuda.Device(driver, local_rank % n_devices), 10000 * major + 100 * minor + patch


def _check_version(core: Any, version: int) -> None:
    """Raise on every rank unless all have the same version of NCCL, which does not work otherwise."""
    import numpy as np

    versions = np.empty(core.size, np.int64)
    core.all_gather(np.array([version], np.int64), versions, 1, 8)
    if (versions == versions[0]).all():
        return
    found = {int(each): np.flatnonzero(versions == each).tolist() for each in set(versions.tolist())}
    told = "; ".join(f"{number} on ranks {ranks}" for number, ranks in sorted(found.items()))
    expected = "the same everywhere"
    raise BackendError(complaint("backend nccl", f"different versions of NCCL: {told}", expected=expected))


def _local_rank(environ: Mapping[str, str], rank: int) -> int:
    local = integer(environ, LOCAL_RANK)
    return rank if local is None else local


def _number(environ: Mapping[str, str], name: str) -> int:
    number = integer(environ, name)
    assert number is not None, "is_configured has looked"
    return number
