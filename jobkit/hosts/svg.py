"""Draw hosts and cables as a picture that every browser shows."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

from jobkit.hosts.dot import Pairs, with_speed
from jobkit.hosts.model import Topology

# Pixels: around all; the height of a host, of a label; a letter of a host's name, of a label.
_MARGIN, _HOST, _LABEL, _NAME_LETTER, _LABEL_LETTER = 60.0, 36.0, 18.0, 8.5, 7.8
_PER_HOST = 75.0  # of the circle's circumference, at least
_LEAST_RADIUS = 230.0
_BEND = 60.0  # between parallel cables
_GREY, _RED = "#37474f", "#c62828"

Point = tuple[float, float]
Shape = tuple[str, str]  # a line, and the label that lies above all lines


def draw(topology: Topology, broken: Pairs) -> str:
    """Return the text of an SVG: the hosts in a circle, cables labelled, broken pairs red.

    Args:
        topology: Hosts and cables.
        broken: Pairs that lack a cable.
    """
    names = [host.name for host in topology.hosts]
    box = max(map(len, names)) * _NAME_LETTER + 24
    places, width, height = _places(len(names), box)
    gaps = [(places[one], places[other]) for one, other in broken]
    shapes = [
        *(_line(start, end, "no cable", 0.0, number, _RED) for number, (start, end) in enumerate(gaps)),
        *_cables(topology, places),
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"'
        f' width="{width:.0f}" height="{height:.0f}" font-family="sans-serif" font-size="14">'
        '<rect width="100%" height="100%" fill="white"/>'
    )
    lines, labels = [line for line, _ in shapes], [label for _, label in shapes]
    hosts = [_host(name, place, box) for name, place in zip(names, places, strict=True)]
    return "\n".join([head, *lines, *labels, *hosts, "</svg>"]) + "\n"


def _places(size: int, box: float) -> tuple[list[Point], float, float]:
    """Return where each host is, clockwise, and the width and height of the picture.

    Two are side by side and four are a square, else the first is on top.
    """
    radius = max(_LEAST_RADIUS, size * (_PER_HOST + box / 2) / (2 * math.pi))
    first = {2: 1.0, 4: 0.75}.get(size, 0.5)
    angles = [math.pi * (2 * index / size - first) for index in range(size)]
    points = [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]
    left, top = (min(point[axis] for point in points) for axis in (0, 1))
    right, bottom = (max(point[axis] for point in points) for axis in (0, 1))
    x, y = _MARGIN + box / 2 - left, _MARGIN + _HOST / 2 - top
    return (
        [(x + a, y + b) for a, b in points],
        x + right + box / 2 + _MARGIN,
        y + bottom + _HOST / 2 + _MARGIN,
    )


def _cables(topology: Topology, places: list[Point]) -> list[Shape]:
    found = []
    for number, cable in enumerate(topology.cables):
        one, other = (end.host for end in cable.ends)
        parallel = topology.between(one, other)
        bend = (parallel.index(cable) - (len(parallel) - 1) / 2) * _BEND
        found.append(_line(places[one], places[other], with_speed(cable), bend, number, _GREY))
    return found


def _line(start: Point, end: Point, text: str, bend: float, number: int, colour: str) -> Shape:
    """Return a line with a label, bent sideways so that parallel ones stay apart."""
    length = math.dist(start, end)
    across = (start[1] - end[1]) / length, (end[0] - start[0]) / length
    middle = tuple((start[axis] + end[axis]) / 2 + bend * across[axis] for axis in (0, 1))
    path = f"M{start[0]:.1f} {start[1]:.1f} Q{middle[0]:.1f} {middle[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
    dashes = ' stroke-dasharray="7 5"' if colour == _RED else ""
    line = f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
    # Not in the middle, where diagonals cross, and not all at the same place.
    place = (0.36, 0.43)[number % 2]
    weights = ((1 - place) ** 2, 2 * place * (1 - place), place**2)
    points = (start, middle, end)
    x, y = (sum(w * point[axis] for w, point in zip(weights, points, strict=True)) for axis in (0, 1))
    ground = _box((x, y), len(text) * _LABEL_LETTER, _LABEL, 'fill="white"')
    return line, ground + _text((x, y), text, colour)


def _host(name: str, place: Point, box: float) -> str:
    return _box(place, box, _HOST, f'rx="5" fill="#eceff1" stroke="{_GREY}"') + _text(place, name, "black")


def _box(centre: Point, width: float, height: float, style: str) -> str:
    x, y = centre[0] - width / 2, centre[1] - height / 2
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" {style}/>'


def _text(centre: Point, text: str, colour: str) -> str:
    # The baseline is a third of the font's size below the middle; not every viewer knows a middle.
    return (
        f'<text x="{centre[0]:.1f}" y="{centre[1] + 5:.1f}" text-anchor="middle" fill="{colour}">'
        f"{escape(text)}</text>"
    )
