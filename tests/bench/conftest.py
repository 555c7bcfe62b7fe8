"""Contenders that misbehave, and groups for the modules that speak to a library."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobkit.bench import contenders
from jobkit.bench.contenders import Contender
from jobkit.bench.crew import Crew
from jobkit.bench.places import HERE

DEADLINE_S = 60.0
HEAD = """
import os, signal, time
from functools import partial
import numpy as np
from peers.library import Call, Library

RANK, SIZE = int(os.environ["JOBKIT_RANK"]), int(os.environ["JOBKIT_SIZE"])

class Fake(Library):
    version = "fake 1"
    def __init__(self):
        self.rank, self.size = RANK, SIZE

def make():
    return Fake()
"""


@pytest.fixture
def fake(tmp_path: Path) -> Callable[[str, str], Contender]:
    """A function: a contender whose library is `HEAD` and what the test writes."""

    def write(name: str, text: str) -> Contender:
        path = tmp_path / f"{name}.py"
        path.write_text(HEAD + textwrap.dedent(text))
        return Contender(name, str(path))

    return write


@pytest.fixture
def crew() -> Iterator[Callable[..., Crew]]:
    """A function: the ranks of a contender, started and in a group; they end with the test."""
    made: list[Crew] = []

    def start(contender: Contender | None = None, size: int = 2, deadline_s: float = DEADLINE_S) -> Crew:
        one = Crew(contender or contenders.ours("shm"), size)
        made.append(one)
        one.start((HERE,), dict(__import__("os").environ), deadline_s)
        one.init(deadline_s)
        return one

    yield start
    for one in made:
        one.end()
