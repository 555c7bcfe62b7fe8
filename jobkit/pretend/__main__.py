"""Become a program that sees another launcher: `__main__.py LAUNCHER:NxM PORT FILES COMMAND…`.

`jobkit launch --as` starts it as a rank of its own, from which it takes rank and job.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path

from jobkit.env import names
from jobkit.env.detect import detect
from jobkit.env.facts import facts
from jobkit.env.start import become, find
from jobkit.errors import Exit, JobkitError, LaunchError, complaint
from jobkit.pretend.place import Place, Shape, shape
from jobkit.pretend.shells import SHELLS
from jobkit.pretend.steps import STEPS

KNOWN = (*STEPS, *SHELLS)


def place(asked: Shape, port: int, files: str, environ: Mapping[str, str]) -> Place:
    """Return the place of this process, by the variables that jobkit's agent has set."""
    job = environ.get(names.JOB, "")
    return Place(
        shape=asked,
        rank=int(environ.get(names.RANK, "0")),
        host=os.uname().nodename,
        number=1 + zlib.crc32(os.fsencode(job)) % 999_999,
        pid=os.getpid(),
        folder=str(Path.cwd()),
        user=environ.get("USER") or str(os.getuid()),
        port=port,
        files=files,
    )


def pretended(where: Place, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that the launcher would leave; of jobkit's own only the job's name stays.

    By that name its processes are found at the end.
    """
    kept = {name: value for name, value in environ.items() if name not in names.OWN or name == names.JOB}
    variables = (STEPS | SHELLS)[where.shape.launcher]
    return kept | variables(where)


def check(where: Place, environ: Mapping[str, str]) -> None:
    """Refuse where `jobkit env` would find something else, as inside a real job of another launcher.

    Raises:
        LaunchError: It would.
    """
    found = detect(environ, facts(environ))
    got = found.placement
    if where.shape.launcher in SHELLS:
        is_so = got is None
    else:
        wanted = (where.shape.launcher, where.rank, where.shape.size, where.local_rank)
        is_so = got is not None and (found.launcher, got.rank, got.size, got.local_rank) == wanted
    if not is_so:
        hint = "start it outside of the jobs of other launchers"
        raise LaunchError(complaint(f"--as {where.shape}", f"is not what is seen: {found.reason}", hint=hint))


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    """Become the program; returns only the status of a refusal."""
    text, port, files, *command = argv
    try:
        where = place(shape(text, KNOWN), int(port), files, environ)
        seen = pretended(where, environ)
        check(where, seen)
        become(find(tuple(command), seen), tuple(command), seen)
    except JobkitError as error:
        sys.stderr.write(f"jobkit: error: {error}\n")
        return error.exit_status
    return Exit.NOT_STARTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], dict(os.environ)))
