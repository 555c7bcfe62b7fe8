"""Launch through mpirun: it starts the ranks, and reaches the hosts; jobkit finds it and ends it."""

from __future__ import annotations

import argparse
import os
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jobkit.agent.client import Agent
from jobkit.agent.request import Request
from jobkit.cli.foreground import Foreground
from jobkit.cli.launching import Hosts, is_here
from jobkit.env import mpirun, names, start
from jobkit.env.record import RankExit
from jobkit.errors import SpecError, complaint

# Of the agent's one rank, which is mpirun; the ranks that it starts are others.
_NOT_THEIRS = (names.RANK, names.SIZE, names.LOCAL_RANK, names.LOCAL_SIZE, names.NODES)
_OF_TERMINAL = ("COLUMNS", "LINES", "FORCE_COLOR")


def launch(asked: Request, hosts: Hosts, args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run a request's ranks under mpirun; return its exit status.

    Args:
        asked: For this machine, with the ranks of all.
        hosts: One per rank.
        args: The flags.
        environ: Of this process.

    Raises:
        LaunchError: There is no mpirun.
        CommandError: The program is not here, where it is to run.
        SpecError: A host's name is none for it.
    """
    if args.stdin not in (None, "0", "none"):
        wrong = "mpirun gives standard input to rank 0 alone"
        raise SpecError(complaint("--stdin", wrong, got=args.stdin, expected="0 or none"))
    found = mpirun.find(environ)
    _check_program(asked, hosts)
    listed = counted(hosts.names)
    own = {**mpirun.variables(found, environ), **asked.overlay}
    with tempfile.TemporaryDirectory(prefix="jobkit-mpi-") as folder:
        file = Path(folder, "hosts")
        file.write_text(mpirun.hostfile(found, listed))
        wish = mpirun.Wish(
            listed,
            str(file),
            (*own, "PYTHONUNBUFFERED", *(_OF_TERMINAL if asked.terminal else ())),
            asked.workdir if args.cwd else "",
            tuple(word for text in args.mpi_arg for word in _split(text)),
            asked.command,
            labelled=args.label,
        )
        unset = tuple(word for name in _NOT_THEIRS for word in ("-u", name))
        request = replace(
            asked,
            command=("env", *unset, *mpirun.command(found, wish)),
            backend=("none",),
            local_size=1,
            size=1,
            stdin="none" if asked.stdin == "none" else "0",
            environ=asked.environ | mpirun.settings(environ),
            overlay=own,
        )

        def described(ended: RankExit, _size: int) -> str:
            how = f"was killed by {ended.signal}" if ended.signal else f"ended with status {ended.status}"
            return f"{found} {how}"

        shown = Foreground(request, label=False, table=args.table, describe=described)
        return shown.run(lambda: Agent.start(request, request.python))


def _check_program(asked: Request, hosts: Hosts) -> None:
    """Look for the program where it is to run here too: mpirun has words of its own, and a status.

    Raises:
        LaunchError: It is not there, or not executable.
    """
    if any(map(is_here, hosts.names)):
        program = asked.command[0]
        path = str(Path(asked.workdir, program)) if "/" in program else program
        start.find((path, *asked.command[1:]), asked.environ)


def counted(listed: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Return the hosts with their numbers of ranks; this machine, among others, under the name they know.

    >>> counted(("h1", "h1", "h2"))
    (('h1', 2), ('h2', 1))

    Raises:
        SpecError: mpirun takes no such name, or the ranks of a host do not follow each other.
    """
    here = "localhost" if all(map(is_here, listed)) else os.uname().nodename
    found: list[tuple[str, int]] = []
    for name in (here if is_here(name) else name for name in listed):
        _check(name)
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1] + 1)
        else:
            found.append((name, 1))
    again = [name for name, _ in found if [other for other, _ in found].count(name) > 1]
    if again:
        wrong = "its entries do not follow each other, as mpirun wants them"
        raise SpecError(complaint("backend mpi", wrong, got=again[0]))
    return tuple(found)


def _check(name: str) -> None:
    if set("@:[]%") & set(name):
        hint = f"give user and port of {name.rpartition('@')[2]} in ~/.ssh/config"
        wrong = "mpirun takes names of hosts alone"
        raise SpecError(
            complaint("backend mpi", wrong, got=name, expected="a Host of ~/.ssh/config", hint=hint)
        )


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise SpecError(complaint("--mpi-arg", f"cannot be split ({error})", got=text)) from error
