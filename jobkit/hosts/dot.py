"""Draw hosts and cables as an undirected graph in the language of Graphviz."""

from __future__ import annotations

import json
from string import ascii_lowercase

from jobkit.hosts.model import Cable, Topology

Pairs = list[tuple[int, int]]


def draw(topology: Topology, broken: Pairs | None = None) -> str:
    """Return a graph with one `a -- b` for each cable, labelled with its interfaces.

    Args:
        topology: Hosts and cables.
        broken: Pairs without a cable to draw in red; the cables' speeds are then in the labels too.
    """
    lines = ['graph "G" {', "  node [shape=rectangle];"]
    lines += [f"  {letter(i)} [label={_quoted(host.name)}];" for i, host in enumerate(topology.hosts)]
    for cable in topology.cables:
        one, other = (letter(end.host) for end in cable.ends)
        text = interfaces(cable) if broken is None else with_speed(cable)
        lines.append(f"  {one} -- {other} [label={_quoted(text)}];")
    for first, second in broken or []:
        style = 'label="no cable", color=red, fontcolor=red, style=dashed'
        lines.append(f"  {letter(first)} -- {letter(second)} [{style}];")
    return "\n".join([*lines, "}"]) + "\n"


def interfaces(cable: Cable) -> str:
    """Return the interfaces of both ends: 'en5/en3'."""
    return "/".join(end.interface for end in cable.ends)


def with_speed(cable: Cable) -> str:
    """Return the interfaces, and the speed if it is known."""
    return " ".join(filter(None, (interfaces(cable), cable.speed)))


def letter(index: int) -> str:
    """Return a name for a node: a, b, …, z, aa, ab, …"""
    name = ""
    index += 1
    while index:
        index, place = divmod(index - 1, len(ascii_lowercase))
        name = ascii_lowercase[place] + name
    return name


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
