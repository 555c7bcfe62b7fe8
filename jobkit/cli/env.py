"""Show what the shim would set here, and why."""

from __future__ import annotations

import argparse

HELP = "show what the shim would set here, and why"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--backend", default="any", metavar="B")


def run(args: argparse.Namespace) -> int:
    """Print the variables."""
    return 0
