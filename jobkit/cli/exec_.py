"""Become one rank's program, in the environment that its launcher and backend call for.

What jobkit puts before the program of each rank, under its own agent and under every launcher of
docs/launchers.md. The same as `python -m jobkit.env`.
"""

from __future__ import annotations

import argparse

HELP = "run a program as one rank, with the variables that it needs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--backend",
        default="any",
        metavar="B",
        help="any (the default), ring, jaccl, jaccl-ring, mpi, nccl or none; several with commas",
    )
    parser.add_argument(
        "--ranks-per-node",
        metavar="N",
        default="1",
        help="start N ranks where the launcher starts one process per node (SkyPilot, dstack)",
    )
    parser.add_argument(
        "--coordinator",
        default="",
        metavar="HOST[:PORT]",
        help="where rank 0 is, if the launcher does not say",
    )
    parser.add_argument("--chdir", default="", metavar="FOLDER", help="start the program in this folder")
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="-- CMD", help="the program and its arguments"
    )


def run(args: argparse.Namespace) -> int:
    """Become the program; returns only an exit status of its own."""
    import os

    from jobkit.env.__main__ import main

    options = ["--backend", args.backend, "--chdir", args.chdir, "--coordinator", args.coordinator]
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    return main([*options, "--ranks-per-node", args.ranks_per_node, "--", *command], dict(os.environ))
