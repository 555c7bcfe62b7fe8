"""The ring backend: TCP between the hosts, shared memory within one; any rank may send to any other."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

from jobkit.errors import BackendError, complaint
from jobkit.native import gangfile, hostfile, schedules
from jobkit.native.group import Group
from jobkit.native.settings import BUILT_IN, SCHEDULE, SIMD, integer, settings

GANG_FILE = "JOBKIT_GANG_FILE"
TOKEN_FILE = "JOBKIT_TOKEN_FILE"
VICTIM_FILE = "JOBKIT_VICTIM_FILE"
RUN_DIR = "JOBKIT_RUN_DIR"
ATTEMPT = "JOBKIT_ATTEMPT"
JOBKIT_RANK = "JOBKIT_RANK"
JOBKIT_SIZE = "JOBKIT_SIZE"
HOSTFILE = "MLX_HOSTFILE"
MLX_RANK = "MLX_RANK"
MLX_WORLD_SIZE = "MLX_WORLD_SIZE"

_epochs = count()  # tells a group from those that this process formed before it


@dataclass(frozen=True)
class Meeting:
    """Where the ranks meet.

    Attributes:
        rank: This process.
        hosts: The addresses of every rank, in rank order.
        mode: "gang" where the table came from the shim, "hostfile" where only neighbours are promised,
            "coordinator" where only rank 0's address is known.
        job: The job's identity, empty where nobody gave one.
        token: The job's secret, empty where there is none.
    """

    rank: int
    hosts: list[list[str]]
    mode: str
    job: str = ""
    token: bytes = b""


def is_available(_: Mapping[str, str]) -> bool:
    """Return whether the engine was built for this Python."""
    try:
        importlib.import_module("jobkit.native._core")
    except ImportError:
        return False
    return True


def is_configured(environ: Mapping[str, str]) -> bool:
    """Return whether the environment says where the ranks meet."""
    return bool(environ.get(GANG_FILE) or environ.get(HOSTFILE))


def init(environ: Mapping[str, str], strict: bool) -> Group | None:
    """Return the group that the environment describes. Collective: every rank of it.

    JOBKIT_GANG_FILE (with JOBKIT_TOKEN_FILE) comes first, else MLX_HOSTFILE with MLX_RANK.

    Returns:
        The group; None when nothing is configured and `strict` is off.

    Raises:
        BackendError: Nothing is configured and `strict` is on, what is configured is wrong, or the ranks did
            not meet in time.
    """
    if not is_configured(environ):
        if not strict:
            return None
        expected = f"{GANG_FILE}, or both {MLX_RANK} and {HOSTFILE}"
        hint = "start the program with `jobkit launch` or `jobkit exec`"
        raise BackendError(complaint("backend ring", "not configured", expected=expected, hint=hint))
    return connect(meeting(environ), environ)


def meeting(environ: Mapping[str, str]) -> Meeting:
    """Return where the ranks meet, read from the files that the environment names.

    Raises:
        BackendError: A file or a variable cannot be used, or two variables contradict each other.
    """
    if environ.get(GANG_FILE):
        return _gang_meeting(environ)
    rank = integer(environ, MLX_RANK)
    if rank is None:
        raise BackendError(
            complaint(MLX_RANK, f"not set although {HOSTFILE} is", expected="this process's rank")
        )
    hosts = hostfile.read(environ[HOSTFILE], rank=rank, size=integer(environ, MLX_WORLD_SIZE))
    return Meeting(rank=rank, hosts=hosts, mode="hostfile")


def connect(
    where: Meeting,
    environ: Mapping[str, str],
    epoch: int | None = None,
    *,
    backend: str = "ring",
    **options: Any,
) -> Group:
    """Return the group of the ranks that met. Collective.

    `epoch` is a number that all of them give; None counts the groups that this process has formed so far.
    `options` replace what the engine is given otherwise.
    """
    if len(where.hosts) == 1:
        return Group(None, backend=backend)
    _core = importlib.import_module("jobkit.native._core")
    if not where.token:
        logging.getLogger(__name__).info("no %s: peers are not authenticated", TOKEN_FILE)
    chosen = settings(environ)
    if chosen.simd:
        _use_instruction_set(_core, chosen.simd)
    known = None if chosen.schedules else schedules.tables(environ)
    given = {
        "mode": where.mode,
        "job": where.job,
        "epoch": next(_epochs) if epoch is None else epoch,
        "token": where.token,
        "connect_timeout_s": chosen.connect_timeout_s,
        "timeout_s": chosen.timeout_s,
        "heartbeat_s": chosen.heartbeat_s,
        "shared_memory": chosen.shared_memory,
        "verbose": chosen.verbose,
        "victim_file": environ.get(VICTIM_FILE, ""),
        "checks": chosen.checks,
        "congestion": chosen.congestion,
        "flight_file": flight_file(where.rank, environ),
        "exit_folder": _exit_folder(environ),
        "schedules": _checked_schedules(_core, chosen.schedules),
        "recall": known.recall if known else None,
        "keep": known.keep if known else None,
        "label": backend,
    }
    core = _core.connect(where.rank, where.hosts, **(given | options))
    return Group(core, backend=backend, is_authenticated=bool(where.token))


def flight_file(rank: int, environ: Mapping[str, str]) -> str:
    """Return where this rank's flight recorder goes: beside its output; "" where there is no such folder."""
    folder = Path(environ.get(RUN_DIR, "")) / f"attempt-{environ.get(ATTEMPT, '1')}"
    is_there = bool(environ.get(RUN_DIR)) and folder.is_dir()
    return str(folder / f"rank-{rank}.flight") if is_there else ""


def _exit_folder(environ: Mapping[str, str]) -> str:
    """Return where jobkit notes which ranks of this host have ended; "" where it started none."""
    file = environ.get(VICTIM_FILE, "")
    return str(Path(file).parent) if file else ""


def _checked_schedules(core: ModuleType, text: str) -> str:
    try:
        return str(core.schedule_table("" if text == BUILT_IN else text))
    except ValueError as error:
        raise BackendError(f"{SCHEDULE}: {error}") from None


def _use_instruction_set(core: ModuleType, name: str) -> None:
    try:
        core.use_instruction_set(name)
    except ValueError as error:
        raise BackendError(f"{SIMD}: {error}") from None


def _gang_meeting(environ: Mapping[str, str]) -> Meeting:
    gang = gangfile.read(environ[GANG_FILE])
    rank, size = _placed_rank(environ), integer(environ, JOBKIT_SIZE)
    if size is not None and size != len(gang.members):
        where, expected = f"gang file {environ[GANG_FILE]}", f"{size} as {JOBKIT_SIZE} says"
        raise BackendError(
            complaint(where, "wrong number of ranks", got=len(gang.members), expected=expected)
        )
    if rank >= len(gang.members):
        expected = f"a rank from 0 to {len(gang.members) - 1}"
        raise BackendError(
            complaint(JOBKIT_RANK, f"not in {environ[GANG_FILE]}", got=rank, expected=expected)
        )
    token = gangfile.read_token(environ[TOKEN_FILE]) if environ.get(TOKEN_FILE) else b""
    job = f"{gang.job}#{gang.attempt}"
    return Meeting(rank=rank, hosts=gangfile.hosts(gang), mode="gang", job=job, token=token)


def _placed_rank(environ: Mapping[str, str]) -> int:
    placed, mlx = integer(environ, JOBKIT_RANK), integer(environ, MLX_RANK)
    if placed is not None and mlx is not None and placed != mlx:
        hint = f"another launcher inside the job? Unset {GANG_FILE} and the JOBKIT_ variables there"
        wrong = f"contradicts {JOBKIT_RANK}={placed}"
        raise BackendError(complaint(MLX_RANK, wrong, got=mlx, expected="the same rank", hint=hint))
    rank = placed if placed is not None else mlx
    if rank is None:
        raise BackendError(
            complaint(JOBKIT_RANK, f"not set although {GANG_FILE} is", expected="this process's rank")
        )
    return rank
