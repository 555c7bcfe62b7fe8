"""`jobkit hosts graph`: pictures of recorded layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def graph(jobkit: Callable[..., Any], repository: Path) -> Callable[..., Any]:
    """Draw a recorded layout."""
    return lambda name, *words: jobkit(
        "hosts", "graph", "--from", str(repository / "tests/data/macs" / name), *words
    )


@pytest.mark.parametrize(
    ("name", "words", "red"),
    [
        ("mesh4", (), []),
        ("mesh4-broken", (), ["a -- b"]),
        ("ring4", (), ["a -- c", "b -- d"]),
        ("ring4", ("--need", "ring"), []),
        ("line3", ("--need", "ring"), ["a -- c"]),
        ("line3", ("--need", "none"), []),
    ],
)
def test_what_is_missing_for_a_mesh_or_a_ring_is_red(
    graph: Callable[..., Any], name: str, words: tuple[str, ...], red: list[str]
) -> None:
    done = graph(name, *words)

    assert (done.status, done.err) == (0, "")
    assert [line.strip()[:6] for line in done.out.splitlines() if "color=red" in line] == red


def test_the_form_is_that_of_the_files_name_or_of_the_flag(graph: Callable[..., Any], work: Path) -> None:
    assert graph("mesh4", "--output", "a.svg").out == ""
    assert (work / "a.svg").read_text().startswith("<svg ")
    assert graph("mesh4", "--format", "svg").out == (work / "a.svg").read_text()
    assert graph("mesh4").out.startswith('graph "G" {')
