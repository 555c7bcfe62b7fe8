"""The jaccl backend: RDMA over ibverbs, a cable between every two ranks or between neighbours."""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
from collections.abc import Mapping

from jobkit.errors import BackendError, complaint
from jobkit.native import cables, hostfile, ring
from jobkit.native.group import Group
from jobkit.native.ring import Meeting
from jobkit.native.settings import SHARED_MEMORY, integer

RANK = ("JACCL_RANK", "MLX_RANK")
DEVICES = ("JACCL_IBV_DEVICES", "MLX_IBV_DEVICES")
COORDINATOR = ("JACCL_COORDINATOR", "MLX_JACCL_COORDINATOR")
RING = ("JACCL_RING", "MLX_JACCL_RING")

QUEUE_PAIR = "JOBKIT_JACCL_QP"
GID = "JOBKIT_JACCL_GID"
LIBRARY = "JOBKIT_JACCL_LIBRARY"
LAST_GID = 255  # of a device's table that a queue pair can name
QUEUE_PAIRS = ("auto", "rc", "uc")


def devices(environ: Mapping[str, str]) -> tuple[list[str], str]:
    """Return the RDMA devices of this host; or why none can be used: no verbs library, no device."""
    if not ring.is_available(environ):
        return [], "the engine is not built for this Python"
    core = importlib.import_module("jobkit.native._core")
    found: tuple[list[str], str] = core.verbs_devices(environ.get(LIBRARY, ""))
    return found


def problem(environ: Mapping[str, str]) -> str:
    """Return why no cable can be used on this host, "" where one can."""
    return devices(environ)[1]


def is_available(environ: Mapping[str, str]) -> bool:
    """Return whether this host has an RDMA device; why it has none goes to the log."""
    wrong = problem(environ)
    if wrong:
        logging.getLogger(__name__).info("backend jaccl: not available: %s", wrong)
    return not wrong


def is_configured(environ: Mapping[str, str]) -> bool:
    """Return whether the environment names the devices, and says where the ranks meet."""
    return bool(_first(environ, DEVICES) and (environ.get(ring.GANG_FILE) or _first(environ, COORDINATOR)))


def init(environ: Mapping[str, str], strict: bool) -> Group | None:
    """Return the group that the environment describes. Collective: every rank of it.

    The devices are those of MLX_IBV_DEVICES. The ranks meet through JOBKIT_GANG_FILE, else at
    MLX_JACCL_COORDINATOR; of each variable the name that begins with JACCL_ comes first.

    Returns:
        The group; None when nothing is configured and `strict` is off.

    Raises:
        BackendError: Nothing is configured and `strict` is on, what is configured is wrong, a device cannot
            be used, or the ranks did not meet in time.
    """
    if not is_configured(environ):
        if not strict:
            return None
        expected = f"{DEVICES[1]}, and {ring.GANG_FILE} or both {RANK[1]} and {COORDINATOR[1]}"
        hint = "start the program with `jobkit launch --backend jaccl`"
        raise BackendError(complaint("backend jaccl", "not configured", expected=expected, hint=hint))
    path = _first(environ, DEVICES)
    where = f"matrix of devices {path}"
    matrix = cables.read(path)
    if len(matrix) == 1:
        return Group(None, backend="jaccl")
    prefers_ring = any(name in environ for name in RING)
    chosen = cables.choose(matrix, prefers_ring=prefers_ring, where=where)
    wrong = problem(environ)
    if wrong:
        raise BackendError(complaint("backend jaccl", wrong, hint="see `jobkit doctor`"))
    return ring.connect(
        meeting(environ, matrix),
        environ,
        backend="jaccl",
        # Cables are what was asked for: memory only by a word of its own.
        shared_memory=environ.get(SHARED_MEMORY, "").strip() == "1",
        devices=chosen,
        library=environ.get(LIBRARY, ""),
        queue_pair=_queue_pair(environ),
        gid=_gid(environ),
    )


def meeting(environ: Mapping[str, str], matrix: cables.Matrix) -> Meeting:
    """Return where the ranks meet.

    Raises:
        BackendError: A variable is missing or cannot be used, or the files are of different sizes.
    """
    n = len(matrix)
    if environ.get(ring.GANG_FILE):
        found = ring.meeting(environ)
        if len(found.hosts) != n:
            where = f"matrix of devices {_first(environ, DEVICES)}"
            expected = f"{len(found.hosts)}, as there are ranks"
            raise BackendError(complaint(where, "wrong number of rows", got=n, expected=expected))
        return found
    name = next((name for name in RANK if environ.get(name)), RANK[1])
    rank = integer(environ, name)
    if rank is None:
        wrong = f"not set although {COORDINATOR[1]} is"
        raise BackendError(complaint(name, wrong, expected="this process's rank"))
    if rank >= n:
        wrong = f"not in {_first(environ, DEVICES)}"
        raise BackendError(complaint(name, wrong, got=rank, expected=f"a rank from 0 to {n - 1}"))
    address = _first(environ, COORDINATOR)
    try:
        hostfile.split_address(address)
    except ValueError as error:
        raise BackendError(
            complaint(COORDINATOR[1], str(error), got=address, expected='"host:port" of rank 0')
        ) from None
    # Ranks with another matrix are of another job.
    job = f"jaccl {hashlib.sha256(json.dumps(matrix).encode()).hexdigest()[:16]}"
    return Meeting(rank=rank, hosts=[[address]] + [[] for _ in range(n - 1)], mode="coordinator", job=job)


def _queue_pair(environ: Mapping[str, str]) -> str:
    text = environ.get(QUEUE_PAIR, "").strip() or "auto"
    if text not in QUEUE_PAIRS:
        expected = f"one of {', '.join(QUEUE_PAIRS)}"
        raise BackendError(complaint(QUEUE_PAIR, "unknown kind of connection", got=text, expected=expected))
    return text


def _gid(environ: Mapping[str, str]) -> int:
    number = integer(environ, GID)
    if number is not None and number > LAST_GID:
        raise BackendError(complaint(GID, "not an index", got=number, expected=f"0 to {LAST_GID}"))
    return -1 if number is None else number


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")
