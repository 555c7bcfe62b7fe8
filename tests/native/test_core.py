"""The stub of the engine's module says what is in it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

core = pytest.importorskip("jobkit.native._core")


def public(names: list[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def test_the_stub_names_what_the_module_has(repository: Path) -> None:
    stub = ast.parse((repository / "jobkit/native/_core.pyi").read_text())
    defined = [node for node in stub.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert public([node.name for node in defined]) == public(dir(core))
    (group,) = [node for node in defined if node.name == "Group"]
    methods = [node.name for node in ast.walk(group) if isinstance(node, ast.FunctionDef)]
    assert public(methods) == public(dir(core.Group))


def test_its_error_is_one_of_jobkits_and_a_runtime_error() -> None:
    from jobkit.errors import BackendError

    assert issubclass(core.Error, BackendError)
    assert issubclass(core.Error, RuntimeError)
    assert core.Error.culprit is None
