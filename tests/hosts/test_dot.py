"""Graphs for Graphviz."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest

from jobkit.hosts import dot
from jobkit.hosts.model import Topology


def test_one_line_for_each_cable_and_nothing_else(layout: Callable[..., Topology]) -> None:
    assert dot.draw(layout("pair2-double")) == (
        'graph "G" {\n'
        "  node [shape=rectangle];\n"
        '  a [label="left"];\n'
        '  b [label="right"];\n'
        '  a -- b [label="en2/en2"];\n'
        '  a -- b [label="en3/en3"];\n'
        "}\n"
    )


def test_broken_pairs_are_red_and_cables_have_their_speed(layout: Callable[..., Topology]) -> None:
    text = dot.draw(layout("line3"), [(0, 2)])

    assert '  a -- b [label="en2/en2 80 Gb/s"];\n' in text
    assert '  a -- c [label="no cable", color=red, fontcolor=red, style=dashed];\n' in text


def test_names_are_quoted(wired: Callable[..., Topology]) -> None:
    topology = wired(1, [])
    hosts = (replace(topology.hosts[0], name='a"\\b'),)

    assert '  a [label="a\\"\\\\b"];' in dot.draw(replace(topology, hosts=hosts))


def test_nodes_have_letters() -> None:
    assert [dot.letter(i) for i in (0, 25, 26, 27, 701, 702)] == ["a", "z", "aa", "ab", "zz", "aaa"]
    assert len({dot.letter(i) for i in range(2000)}) == 2000
    assert all(re.fullmatch("[a-z]+", dot.letter(i)) for i in range(250))


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_draws_it(layout: Callable[..., Topology]) -> None:
    text = dot.draw(layout("mesh4-broken"), [(0, 1)])

    done = subprocess.run(
        ["dot", "-Tplain"], input=text, capture_output=True, text=True, timeout=60, check=True
    )

    assert [line.split()[0] for line in done.stdout.splitlines()].count("edge") == 6
