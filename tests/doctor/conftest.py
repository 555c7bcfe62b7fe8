"""A plan for Slurm, with what a test says of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jobkit.plan import Plan
from jobkit.plan import plan as planned
from jobkit.spec import parse


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Plan]:
    def make(*lines: str) -> Plan:
        text = "\n".join(("executor: slurm", "run: 'true'", *lines, ""))
        return planned(parse(text, "a.yaml", os.environ), cwd=str(tmp_path), environ=os.environ)

    return make
