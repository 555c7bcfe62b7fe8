"""The groups of checks, as a folder of modules and in their order."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

import jobkit.doctor
from jobkit.doctor import GROUPS, examine
from jobkit.doctor.row import FAILS, OK, SKIPPED, WARNING, Question


def test_every_module_but_the_row_is_a_group() -> None:
    modules = {path.stem for path in Path(jobkit.doctor.__file__).parent.glob("*.py")}
    assert modules == {*GROUPS, "__init__", "row"}


def test_without_a_spec_this_machine_alone_is_looked_at(jobkit_home: Path) -> None:
    rows = [row.check for row in examine(Question(os.environ))]
    assert rows[:6] == ["jobkit", "Python", "engine", "MLX", "JOBKIT_HOME", "RDMA"]


def rows_without_a_remedy(source: str) -> list[str]:
    """Return the rows in a source that say that something is wrong, and not what to do."""
    found = []
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Row":
            state, named = call.args[1] if len(call.args) > 1 else None, {key.arg for key in call.keywords}
            is_wrong = not (isinstance(state, ast.Name) and state.id in ("OK", "SKIPPED"))
            remedies = [*call.args[3:], *(key.value for key in call.keywords if key.arg == "remedy")]
            is_empty = any(isinstance(text, ast.Constant) and not text.value for text in remedies)
            if is_wrong and "state" not in named and (not remedies or is_empty):
                found.append(ast.unparse(call))
    return found


@pytest.mark.parametrize("group", [*GROUPS])
def test_whatever_is_wrong_has_a_remedy(group: str) -> None:
    source = Path(jobkit.doctor.__file__).with_name(f"{group}.py").read_text()
    assert "Row(" in source
    assert rows_without_a_remedy(source) == []


def test_a_row_without_a_remedy_is_found() -> None:
    source = "Row('a', OK, 'b'); Row('a', FAILS, 'b'); Row('a', state, 'b', ''); Row('a', WARNING, 'b', 'c')"
    assert rows_without_a_remedy(source) == ["Row('a', FAILS, 'b')", "Row('a', state, 'b', '')"]


def test_every_row_has_a_known_state_and_text_on_one_line(jobkit_home: Path) -> None:
    for row in examine(Question(os.environ)):
        assert row.state in (OK, WARNING, FAILS, SKIPPED)
        assert row.check and row.found and "\n" not in row.check + row.remedy
