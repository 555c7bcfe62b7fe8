"""Pictures without Graphviz."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from jobkit.hosts import svg
from jobkit.hosts.model import Topology

NAMESPACE = "{http://www.w3.org/2000/svg}"


def drawn(topology: Topology, broken: list[tuple[int, int]]) -> tuple[list[dict[str, str]], list[str]]:
    """Return the attributes of each line, and all texts."""
    root = ElementTree.fromstring(svg.draw(topology, broken))
    return [dict(line.attrib) for line in root.iter(f"{NAMESPACE}path")], [
        text.text or "" for text in root.iter(f"{NAMESPACE}text")
    ]


def test_every_cable_is_a_line_with_interfaces_and_speed(layout: Callable[..., Topology]) -> None:
    lines, texts = drawn(layout("mesh4"), [])

    assert len(lines) == 6
    assert texts.count("en5/en5 80 Gb/s") == 2
    assert {"m3-ultra-1", "m3-ultra-2", "m3-ultra-3", "m3-ultra-4"} < set(texts)


def test_broken_pairs_are_red_and_dashed(layout: Callable[..., Topology]) -> None:
    lines, texts = drawn(layout("mesh4-broken"), [(0, 1)])

    red = [line for line in lines if line["stroke"] == "#c62828"]
    assert len(red) == 1 and "stroke-dasharray" in red[0]
    assert texts.count("no cable") == 1


def test_parallel_cables_lie_apart(layout: Callable[..., Topology]) -> None:
    lines, _ = drawn(layout("pair2-double"), [])

    assert len({line["d"] for line in lines}) == 2


@pytest.mark.parametrize("size", [1, 2, 3, 4, 16, 250])
def test_hosts_lie_inside_the_picture_and_apart(wired: Callable[..., Topology], size: int) -> None:
    root = ElementTree.fromstring(svg.draw(wired(size, []), []))
    boxes = [
        tuple(float(box.attrib[name]) for name in ("x", "y", "width", "height"))
        for box in root.iter(f"{NAMESPACE}rect")
        if "x" in box.attrib
    ]

    assert len(boxes) == size
    for index, (x, y, width, height) in enumerate(boxes):
        assert 0 < x < x + width < float(root.attrib["width"])
        assert 0 < y < y + height < float(root.attrib["height"])
        left, top = boxes[index - 1][:2]
        assert size == 1 or abs(x - left) > width or abs(y - top) > height


def test_names_are_escaped(wired: Callable[..., Topology]) -> None:
    topology = wired(1, [])

    _, texts = drawn(replace(topology, hosts=(replace(topology.hosts[0], name="<a&b>"),)), [])

    assert texts == ["<a&b>"]
