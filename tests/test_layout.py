"""The tests mirror the source, and the source depends one way."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "jobkit"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.read_text().strip())

# Who may import what of jobkit, nearest rule first; everything may import errors.
ALLOWED = {
    "errors": (),
    "env": ("env",),
    "agent": ("agent", "env"),
    "native": ("native",),
    "spec": ("spec",),
    "plan": ("spec",),
}


def mirror(module: Path) -> Path:
    """Return where the tests of a module belong: `env/ports.py` → `tests/env/test_ports.py`."""
    relative = module.relative_to(PACKAGE)
    name = "init" if module.name == "__init__.py" else relative.stem.strip("_")
    return REPOSITORY / "tests" / relative.parent / f"test_{name}.py"


def imports(module: Path) -> set[str]:
    """Return every absolute module name that a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_has_a_mirror_among_the_tests(module: Path) -> None:
    has_code = any(
        isinstance(n, ast.FunctionDef | ast.ClassDef) for n in ast.walk(ast.parse(module.read_text()))
    )
    if has_code:
        assert mirror(module).exists(), f"{mirror(module).relative_to(REPOSITORY)} is missing"


@pytest.mark.parametrize("part", ALLOWED)
def test_dependencies_point_one_way(part: str) -> None:
    root = PACKAGE / part
    files = sorted(root.rglob("*.py")) if root.is_dir() else [PACKAGE / f"{part}.py"]
    allowed = {"errors", "__version__", *ALLOWED[part]}
    for file in files:
        parts = {
            name.split(".")[1] for name in imports(file) if name.startswith("jobkit.") and name.count(".")
        }
        assert parts <= allowed, f"{file.relative_to(REPOSITORY)} imports {sorted(parts - allowed)}"


@pytest.mark.parametrize("part", ["env", "agent"])
def test_what_runs_on_a_bare_node_uses_the_standard_library_only(part: str) -> None:
    for file in sorted((PACKAGE / part).rglob("*.py")):
        roots = {name.split(".")[0] for name in imports(file)} - {"jobkit"}
        assert roots <= set(sys.stdlib_module_names), f"{file.relative_to(REPOSITORY)}: {roots}"


@pytest.mark.parametrize("library", ["submitit", "fabric", "mpi4py", "yaml", "nanobind"])
def test_a_third_party_library_is_imported_in_one_file(library: str) -> None:
    users = [file for file in MODULES if any(name.split(".")[0] == library for name in imports(file))]
    assert len(users) <= 1, users
