"""Who takes part: libraries, the interpreters that have them, and the settings that make them comparable."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from jobkit.bench import mpiexec
from jobkit.errors import SpecError, complaint

OURS = "jobkit"
LIMIT = "limit"
PEERS = ("mlx", "mpi", "gloo")
SHM, TCP = "shm", "tcp"
TRANSPORTS = (SHM, TCP)
RING, JACCL, MPI = "ring", "jaccl", "mpi"
BACKENDS = (RING, JACCL, MPI)  # of jobkit itself

_THREAD_LEVEL = "JOBKIT_BENCH_THREAD_LEVEL"  # read by peers/mpi.py
_SERIALIZED = "-serialized"


@dataclass(frozen=True)
class Contender:
    """A library with its settings.

    Attributes:
        name: What the tables call it.
        library: The module of `peers` that speaks to it.
        python: The interpreter that has it.
        environ: Variables that its ranks are given.
        mpiexec: Its launcher; "" where it needs none.
        mpi: Which family that is of.
        tcp: Whether it is kept from shared memory.
        is_default: Whether its settings are those that it comes with, the system's congestion control too.
        size: How many ranks it has, whatever the number asked for; 0 for that.
        is_limit: Whether it is the machine's limit and no library.
        needs_processors: Whether it takes part only where each rank has a processor.
        backend: The backend of jobkit's that it uses.
    """

    name: str
    library: str
    python: str = sys.executable
    environ: dict[str, str] = field(default_factory=dict)
    mpiexec: str = ""
    mpi: str = ""
    tcp: bool = False
    is_default: bool = False
    size: int = 0
    is_limit: bool = False
    needs_processors: bool = False
    backend: str = RING


def ours(transport: str, backend: str = RING, pythons: Sequence[str] = ()) -> Contender:
    """Return jobkit itself.

    Args:
        transport: One of TRANSPORTS.
        backend: One of BACKENDS. Ranks of MPI are started by its launcher.
        pythons: Interpreters with mpi4py; the first, which needs jobkit too, is that of MPI's ranks.
    """
    if backend == JACCL:
        return Contender(OURS, "native", environ={"JOBKIT_SHM": "0"}, tcp=True, backend=backend)
    tcp = transport == TCP
    if backend == RING:
        return Contender(OURS, "native", environ={"JOBKIT_SHM": "0"} if tcp else {}, tcp=tcp)
    python = next(iter(pythons), sys.executable)
    launcher = mpiexec.find(python)
    environ = {"JOBKIT_BACKEND": backend}
    return Contender(OURS, "native", python, environ, launcher, mpiexec.flavour(launcher), tcp)


def limit(transport: str) -> Contender:
    """Return the limit of the machine for that transport."""
    if transport == TCP:
        return Contender(LIMIT, "exchange", size=2, is_limit=True)
    return Contender(LIMIT, "memcpy", size=1, is_limit=True)


def peers(names: Sequence[str], transport: str, pythons: Sequence[str]) -> list[Contender]:
    """Return the peers.

    MLX's ring and gloo know TCP only and have no settings of ours. MPICH comes with mpi4py's own thread level
    and with a lower one, because neither is the faster one at every size.

    Args:
        names: Some of PEERS, or files of Python that define `make`, as the modules of `peers` do.
        transport: One of TRANSPORTS, for those that have a choice.
        pythons: Interpreters with mpi4py.

    Raises:
        SpecError: An unknown name, or a file that is not there.
    """
    chosen: list[Contender] = []
    for name in names:
        _check(name)
        if name == "mpi":
            for python in pythons or [sys.executable]:
                chosen += _mpi(python, transport)
        else:
            library = str(Path(name).absolute()) if name.endswith(".py") else name
            chosen.append(Contender(Path(name).stem, library))
    return chosen


def _check(name: str) -> None:
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise SpecError(complaint("--against", "no such file", got=name))
    elif name not in PEERS:
        expected = f"one of {', '.join(PEERS)}, or FILE.py"
        raise SpecError(complaint("--against", "unknown name", got=name, expected=expected))


def as_they_come(found: Sequence[Contender]) -> list[Contender]:
    """Return those with the settings that they come with, so marked; congestion control is the caller's."""
    return [replace(one, is_default=True) for one in found if not one.name.endswith(_SERIALIZED)]


def again(found: Sequence[Contender]) -> list[Contender]:
    """Return `as_they_come` under names of their own, to take part beside the tuned ones."""
    return [replace(one, name=f"{one.name}-default") for one in as_they_come(found)]


def _mpi(python: str, transport: str) -> list[Contender]:
    """Return the MPI library of an interpreter, once or, for MPICH, once for each thread level."""
    launcher = mpiexec.find(python)
    family = mpiexec.flavour(launcher)
    plain = Contender(family, "mpi", python, {}, launcher, family, transport == TCP)
    if family == mpiexec.OPEN_MPI:
        return [plain]
    environ = {_THREAD_LEVEL: "serialized"}
    # Its ranks wait without giving way: on two processors four of them take 3 s for 2 MiB.
    return [plain, replace(plain, name=family + _SERIALIZED, environ=environ, needs_processors=True)]
