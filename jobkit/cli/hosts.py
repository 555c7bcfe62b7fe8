"""Find out how hosts are connected, write their hostfile, draw them, check them."""

from __future__ import annotations

import argparse

HELP = "cabling of hosts: hostfiles, checks and pictures"
ACTIONS = ("discover", "check", "graph")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and what each takes."""
    import importlib

    known = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action in ACTIONS:
        module = importlib.import_module(f"jobkit.cli.hosts_{action}")
        sub = known.add_parser(
            action,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=parser.formatter_class,
            allow_abbrev=False,
        )
        module.add_arguments(sub)


def run(args: argparse.Namespace) -> int:
    """Do what the action says."""
    import importlib

    return int(importlib.import_module(f"jobkit.cli.hosts_{args.action}").run(args))
