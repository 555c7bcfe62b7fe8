"""Start ranks with an MPI library's own launcher, in one network or in two."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from jobkit.bench.places import Place

OPEN_MPI, MPICH = "openmpi", "mpich"
AGENT = "enter"  # the file that takes the place of ssh

# As root, in a container, is how continuous integration runs.
AS_ROOT = {
    f"{name}_ALLOW_RUN_AS_ROOT{suffix}": "1" for name in ("OMPI", "PRTE") for suffix in ("", "_CONFIRM")
}
_OVERSUBSCRIBE = ("--map-by", ":OVERSUBSCRIBE")  # it refuses more ranks than processors otherwise
_TCP_OF_OPEN_MPI = ("--mca", "pml", "ob1", "--mca", "btl", "self,tcp", "--mca", "btl_tcp_if_include")
# NOLOCAL alone leaves UCX, which then has shared memory of its own.
_TCP_OF_MPICH = {"MPIR_CVAR_NOLOCAL": "1", "MPIR_CVAR_CH4_NETMOD": "ofi", "FI_PROVIDER": "tcp"}


def find(python: str) -> str:
    """Return the launcher beside an interpreter, else the one on PATH, else a name that is not found."""
    beside = Path(python).parent / "mpiexec"
    return str(beside) if beside.exists() else shutil.which("mpiexec") or "mpiexec"


def flavour(mpiexec: str) -> str:
    """Return whose launcher it is: OPEN_MPI or MPICH, whose command line the others of its family share."""
    try:
        told = subprocess.run([mpiexec, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return MPICH
    return OPEN_MPI if re.search(r"Open ?MPI|PRRTE|OpenRTE", told.stdout) else MPICH


def environ(family: str, place: Place, *, tcp: bool) -> dict[str, str]:
    """Return the variables of an MPI library, `tcp` to keep it from shared memory."""
    if family == OPEN_MPI:
        return AS_ROOT
    return {**_TCP_OF_MPICH, "FI_TCP_IFACE": place.interface} if tcp else {}


def command(
    mpiexec: str, family: str, where: Sequence[Place], program: Sequence[str], agent: Path, *, tcp: bool
) -> tuple[str, ...]:
    """Return the command line.

    Args:
        mpiexec: The launcher.
        family: OPEN_MPI or MPICH.
        where: The place of each rank, in rank order; equal ones side by side.
        program: What each rank runs.
        agent: Where `agent_script` is, for Open MPI in two networks.
        tcp: Whether it is kept from shared memory.
    """
    parts = [(place, len(list(group))) for place, group in groupby(where)]
    inside = (*where[0].enter, mpiexec)
    if family == MPICH:
        each = [
            ("-n", str(n), *(place.enter if place is not where[0] else ()), *program) for place, n in parts
        ]
        return (*inside, *_joined(each))
    options = _OVERSUBSCRIBE + ((*_TCP_OF_OPEN_MPI, where[0].interface) if tcp else ())
    if len(parts) > 1:
        hosts = ",".join(f"{place.host}:{n}" for place, n in parts)
        options += ("--host", hosts, "--prtemca", "plm_ssh_agent", str(agent))
    return (*inside, *options, "-n", str(len(where)), *program)


def _joined(each: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the parts of a command line with a colon between them."""
    words = [word for part in each for word in (":", *part)]
    return tuple(words[1:])


def agent_script(place: Place) -> str:
    """Return what Open MPI calls in place of ssh, as `enter HOST COMMAND`: it has a daemon on each host."""
    return f'#!/bin/sh\nshift\nexec {" ".join(place.enter)} sh -c "$*"\n'
