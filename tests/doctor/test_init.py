"""The groups of checks, as a folder of modules and in their order."""

from __future__ import annotations

import os
from pathlib import Path

import jobkit.doctor
from jobkit.doctor import GROUPS, examine
from jobkit.doctor.row import Question


def test_every_module_but_the_row_is_a_group() -> None:
    modules = {path.stem for path in Path(jobkit.doctor.__file__).parent.glob("*.py")}
    assert modules == {*GROUPS, "__init__", "row"}


def test_without_a_spec_this_machine_alone_is_looked_at(jobkit_home: Path) -> None:
    rows = [row.check for row in examine(Question(os.environ))]
    assert rows == ["jobkit", "Python", "engine", "MLX", "JOBKIT_HOME"]
