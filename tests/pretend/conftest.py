"""Places of pretended jobs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jobkit.pretend.place import Place, Shape


@pytest.fixture
def place_of(tmp_path: Path) -> Callable[[Shape, int], Place]:
    """Return what makes the place of a rank."""

    def make(shape: Shape, rank: int = 0) -> Place:
        host = os.uname().nodename
        return Place(shape, rank, host, 7, os.getpid(), "/work", "ada", 4321, str(tmp_path))

    return make
