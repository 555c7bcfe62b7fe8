"""Launch here, so that the program sees another launcher: `jobkit launch --as slurm:2x4`."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from jobkit import pretend
from jobkit.agent.client import Agent
from jobkit.cli.foreground import Foreground
from jobkit.cli.launching import Hosts, request
from jobkit.env import ports
from jobkit.errors import SpecError, complaint
from jobkit.pretend.__main__ import KNOWN
from jobkit.pretend.place import Shape, shape
from jobkit.pretend.shells import SHELLS

_FLAGS = ("hosts", "hostfile", "repeat_hosts", "backend")  # what --as says instead, or jobkit exec inside


def launch_as(args: argparse.Namespace, environ: Mapping[str, str], cwd: str) -> int:
    """Run the program once for every rank, or once as the shell of a scheduler that starts no ranks.

    Raises:
        SpecError: A flag cannot be used.
        LaunchError: A port cannot be held.
    """
    for name in _FLAGS:
        if getattr(args, name) is not None:
            flag = "-n" if name == "repeat_hosts" else f"--{name}"
            raise SpecError(
                complaint("--as", f"cannot be given together with {flag}", expected="--as slurm:2x4")
            )
    wanted = shape(args.as_, KNOWN)
    size = 1 if wanted.launcher in SHELLS else wanted.size
    asked = request(args, Hosts(("localhost",) * size), environ, cwd, os.isatty(1))
    with _offered(wanted) as words:
        program = Path(pretend.__file__).with_name("__main__.py")
        command = (asked.python, str(program), str(wanted), *words, *asked.command)
        seen = replace(asked, backend=("none",), command=command)
        foreground = Foreground(seen, label=args.label, table=args.table)
        return foreground.run(lambda: Agent.start(seen, seen.python))


@contextmanager
def _offered(wanted: Shape) -> Iterator[tuple[str, str]]:
    """Hold the port that rank 0 offers something at, and a folder for files, as long as the ranks run."""
    held = (
        ports.reserve(ports.EVERY_ADDRESS, ports.REUSEADDR, None) if wanted.launcher == "torchrun" else None
    )
    try:
        with tempfile.TemporaryDirectory(prefix="jobkit-as-") as files:
            yield str(held.port if held else 0), files
    finally:
        if held is not None:
            ports.release(held)
