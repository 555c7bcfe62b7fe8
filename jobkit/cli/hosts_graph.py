"""Draw hosts and their cables: interfaces and speeds on the cables, pairs that lack one in red."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.hosts.model import Topology

HELP = "draw hosts and their cables"
_NEEDS = ("mesh", "ring", "none")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    from jobkit.cli import hosts_recorded

    hosts_recorded.add_arguments(parser)
    add = parser.add_argument
    add(
        "--format",
        choices=("dot", "svg"),
        help="for Graphviz, or a picture (that of the file's name, else dot)",
    )
    add("--need", choices=_NEEDS, default="mesh", help="draw in red what is missing for it (%(default)s)")
    add("--output", metavar="FILE", help="write it there")


def run(args: argparse.Namespace) -> int:
    """Print the picture."""
    from jobkit.cli import hosts_recorded, talk
    from jobkit.errors import Exit
    from jobkit.hosts import dot, svg

    found = hosts_recorded.topology(args)
    for remark in found.remarks:
        talk.warn(remark)
    form = args.format or ("svg" if (args.output or "").endswith(".svg") else "dot")
    broken = _broken(found, args.need)
    text = svg.draw(found, broken) if form == "svg" else dot.draw(found, broken)
    hosts_recorded.write(text, args.output)
    return Exit.OK


def _broken(found: Topology, need: str) -> list[tuple[int, int]]:
    from jobkit.cli import hosts_recorded
    from jobkit.hosts import choice, rings

    if need == "mesh":
        return choice.missing_pairs(found)
    if need == "none" or len(rings.find(found, hosts_recorded.limit()).hosts) == len(found.hosts):
        return []
    ends = rings.find_open_end(found, hosts_recorded.limit())
    return [ends] if ends else []
