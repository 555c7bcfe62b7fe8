"""Who takes part: libraries, the interpreters that have them, and the settings that make them comparable."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from jobkit.errors import SpecError, complaint

OURS = "jobkit"
LIMIT = "limit"
PEERS = ("mlx", "mpi", "gloo")
TRANSPORTS = ("auto", "shm", "tcp")

_HYDRA, _OPEN_MPI = "mpich", "openmpi"
_OVERSUBSCRIBE = ("--map-by", ":OVERSUBSCRIBE")  # it refuses more ranks than processors otherwise
# As root, in a container, is how continuous integration runs.
_OPEN_MPI_AS_ROOT = {
    f"{name}_ALLOW_RUN_AS_ROOT{suffix}": "1" for name in ("OMPI", "PRTE") for suffix in ("", "_CONFIRM")
}
_THREAD_LEVEL = "JOBKIT_BENCH_THREAD_LEVEL"  # read by peers/mpi.py


@dataclass(frozen=True)
class Contender:
    """A library with its settings.

    Attributes:
        name: What the tables call it.
        library: The module of `peers` that speaks to it.
        python: The interpreter that has it.
        environ: Variables that its ranks are given.
        mpiexec: Its launcher with the options that do not depend on the number of ranks; empty without one.
        is_default: Whether its settings are those that it comes with, the system's congestion control too.
        size: How many ranks it has, whatever the number asked for; 0 for that.
        is_limit: Whether it is the machine's limit and no library.
    """

    name: str
    library: str
    python: str = sys.executable
    environ: dict[str, str] = field(default_factory=dict)
    mpiexec: tuple[str, ...] = ()
    is_default: bool = False
    size: int = 0
    is_limit: bool = False


def ours(transport: str) -> Contender:
    """Return jobkit itself."""
    settings = {"tcp": {"JOBKIT_SHM": "0"}}
    return Contender(OURS, "native", environ=settings.get(transport, {}))


def limit(transport: str) -> Contender:
    """Return the limit of the machine for that transport."""
    if transport == "tcp":
        return Contender(LIMIT, "exchange", size=2, is_limit=True)
    return Contender(LIMIT, "memcpy", size=1, is_limit=True)


def peers(names: Sequence[str], transport: str, pythons: Sequence[str], *, defaults: bool) -> list[Contender]:
    """Return the peers, best settings first.

    MLX's ring and gloo know TCP only and have no settings of ours; each MPI library comes with mpi4py's
    thread level lowered and as it is, because neither is the faster one at every size (MPICH).

    Args:
        names: Some of PEERS, or files of Python that define `make`, as the modules of `peers` do.
        transport: One of TRANSPORTS, for those that have a choice.
        pythons: Interpreters with mpi4py.
        defaults: Whether each one also takes part as it comes.

    Raises:
        SpecError: An unknown name, or a file that is not there.
    """
    for name in names:
        _check(name)
    chosen: list[Contender] = []
    for name in names:
        if name == "mpi":
            for python in pythons or [sys.executable]:
                chosen += _mpi(python, transport)
        else:
            library = str(Path(name).absolute()) if name.endswith(".py") else name
            chosen.append(Contender(Path(name).stem, library))
    untouched = [_untouched(one) for one in chosen if not one.name.endswith(_SERIALIZED)]
    return chosen + (untouched if defaults else [])


_SERIALIZED = "-serialized"


def _check(name: str) -> None:
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise SpecError(complaint("--against", "no such file", got=name))
    elif name not in PEERS:
        expected = f"one of {', '.join(PEERS)}, or FILE.py"
        raise SpecError(complaint("--against", "unknown name", got=name, expected=expected))


def _untouched(contender: Contender) -> Contender:
    bare = {name: value for name, value in contender.environ.items() if "ALLOW_RUN_AS_ROOT" in name}
    options = _OVERSUBSCRIBE if contender.name == _OPEN_MPI else ()
    mpiexec = (*contender.mpiexec[:1], *options)
    name = f"{contender.name}-default"
    return replace(contender, name=name, environ=bare, mpiexec=mpiexec, is_default=True)


def _mpi(python: str, transport: str) -> list[Contender]:
    """Return the MPI library of an interpreter, once or, for MPICH, once for each thread level."""
    mpiexec = _mpiexec(python)
    if _flavour(mpiexec) == _OPEN_MPI:
        options = ("--mca", "pml", "ob1", "--mca", "btl", "self,tcp") if transport == "tcp" else ()
        return [Contender(_OPEN_MPI, "mpi", python, _OPEN_MPI_AS_ROOT, (mpiexec, *_OVERSUBSCRIBE, *options))]
    over_tcp = {"MPIR_CVAR_NOLOCAL": "1", "MPIR_CVAR_CH4_NETMOD": "ofi", "FI_PROVIDER": "tcp"}
    environ = over_tcp if transport == "tcp" else {}
    plain = Contender(_HYDRA, "mpi", python, environ, (mpiexec,))
    lowered = {**environ, _THREAD_LEVEL: "serialized"}
    return [plain, replace(plain, name=_HYDRA + _SERIALIZED, environ=lowered)]


def _mpiexec(python: str) -> str:
    """Return the launcher beside an interpreter, else the one on PATH, else a name that is not found."""
    beside = Path(python).parent / "mpiexec"
    return str(beside) if beside.exists() else shutil.which("mpiexec") or "mpiexec"


def _flavour(mpiexec: str) -> str:
    try:
        told = subprocess.run([mpiexec, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return _HYDRA
    return _OPEN_MPI if re.search(r"Open ?MPI|PRRTE|OpenRTE", told.stdout) else _HYDRA
