"""What is asked: only a plan that goes to Slurm from here is Slurm's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobkit.doctor.row import Question
from jobkit.plan import Plan


@pytest.mark.parametrize(
    ("line", "is_slurm"), [("nodes: 2", True), ("slurm: {login: me@far}", False), ("executor: local", False)]
)
def test_who_asks_slurm_here(plan: Callable[..., Plan], line: str, is_slurm: bool) -> None:
    made = plan(line) if "executor" not in line else None
    assert (Question({}, made).slurm is not None) == is_slurm
