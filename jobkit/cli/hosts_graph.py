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
    from jobkit.cli import hosts_source

    hosts_source.add_arguments(parser)
    add = parser.add_argument
    add(
        "--format",
        choices=("dot", "svg"),
        help="for Graphviz, or a picture (that of the file's name, else dot)",
    )
    add("--need", choices=_NEEDS, default="mesh", help="draw in red what is missing for it (%(default)s)")
    add("--output", metavar="FILE", help="write it there")
    add("--verbose", action="store_true", help="say which hosts are asked")


def run(args: argparse.Namespace) -> int:
    """Print the picture."""
    from jobkit.cli import hosts_source, talk
    from jobkit.errors import Exit, SpecError, complaint
    from jobkit.hosts import dot, svg
    from jobkit.hosts.machine import ETHERNET

    if args.over == ETHERNET:
        raise SpecError(complaint("--over", "has no cables to draw", got=args.over, expected="thunderbolt"))
    found = hosts_source.find(args)
    if found is None:
        return Exit.FINDING
    found.close()
    for remark in found.topology.remarks:
        talk.warn(remark)
    form = args.format or ("svg" if (args.output or "").endswith(".svg") else "dot")
    broken = _broken(found.topology, args.need)
    text = svg.draw(found.topology, broken) if form == "svg" else dot.draw(found.topology, broken)
    hosts_source.write(text, args.output)
    return Exit.OK


def _broken(found: Topology, need: str) -> list[tuple[int, int]]:
    from jobkit.cli import hosts_source
    from jobkit.hosts import choice, rings

    if need == "mesh":
        return choice.missing_pairs(found)
    if need == "none" or len(rings.find(found, hosts_source.limit()).hosts) == len(found.hosts):
        return []
    ends = rings.find_open_end(found, hosts_source.limit())
    return [ends] if ends else []
