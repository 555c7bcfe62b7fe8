"""The launchers of MPI: of the system, and of the environments that JOBKIT_TEST_MPI_PYTHONS names."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

_VARIABLE = "JOBKIT_TEST_MPI_PYTHONS"
# Read once: tests start without what has jobkit's prefix.
_PYTHONS = tuple(filter(None, os.environ.get(_VARIABLE, "").split(",")))


@dataclass(frozen=True)
class Mpi:
    """One library's launcher.

    Attributes:
        name: Of the library.
        launcher: The name that jobkit gives to it.
        mpirun: Its path.
        library: The library itself, for programs that open one; "" for the system's search path.
        flags: What it needs to start ranks as root.
        here: What it needs to start any number on this host, without a scheduler's help.
    """

    name: str
    launcher: str
    mpirun: str
    library: str
    flags: tuple[str, ...]
    here: tuple[str, ...]

    def command(self, n_ranks: int, *words: str, here: bool = False) -> tuple[str, ...]:
        """Return the command that starts ranks, all on this host where `here`, whatever an allocation has."""
        flags = (*self.flags, *(self.here if here else ()))
        return (self.mpirun, *flags, "-n", str(n_ranks), *words)


_OPEN_MPI = ("--allow-run-as-root",), ("--oversubscribe",)
_HYDRA = (), ("-launcher", "fork")
# name: (jobkit's name of the launcher, (flags, flags for here), command of the system, file that only its
# environment has, the library's file)
_KNOWN = {
    "Open MPI 4": ("openmpi", _OPEN_MPI, "mpirun.openmpi", None, "libmpi.so.40"),
    "Open MPI 5": ("openmpi", _OPEN_MPI, None, "bin/prterun", "lib/libmpi.so.40"),
    "MPICH 4": ("mpich", _HYDRA, "mpiexec.hydra", None, "libmpich.so.12"),
    "MPICH 5": ("mpich", _HYDRA, None, "bin/mpichversion", "lib/libmpi.so.12"),
    "Intel MPI": ("mpich", _HYDRA, None, "bin/impi_info", "lib/libmpi.so.12"),
}
NAMES = tuple(_KNOWN)


def find(name: str) -> Mpi | str:
    """Return a launcher by the name of its library, or the reason why it is not here."""
    launcher, flags, command, mark, library = _KNOWN[name]
    if command:
        found = shutil.which(command)
        return Mpi(name, launcher, found, library, *flags) if found else f"{name} needs {command}"
    for python in _PYTHONS:
        root = Path(python).parent.parent
        if (root / str(mark)).exists():
            return Mpi(name, launcher, str(root / "bin/mpiexec"), str(root / library), *flags)
    return f"{_VARIABLE} names no environment with {name}"


def mpi4py() -> Path | None:
    """Return the folder of the package mpi4py in the first environment that has it for this Python."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    folders = [Path(python).parent.parent / "lib" / version / "site-packages/mpi4py" for python in _PYTHONS]
    return next((folder for folder in folders if folder.is_dir()), None)
