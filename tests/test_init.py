"""`import jobkit` and `jobkit --help` stay light."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import jobkit

HEAVY = {"pydantic", "fabric", "submitit", "rich.console", "numpy", "yaml", "mlx"}


def modules_after(code: str) -> set[str]:
    """Return the names in sys.modules of a fresh interpreter that has run `code`."""
    probe = f"{code}\nimport sys\nprint('\\nMODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.rsplit("MODULES", 1)[1].split())


def test_import_brings_no_third_party_library() -> None:
    assert not modules_after("import jobkit") & HEAVY


@pytest.mark.parametrize("words", [["submit", "--help"], ["launch", "--help"], ["--version"]])
def test_help_brings_no_heavy_library(words: list[str]) -> None:
    code = f"from jobkit.cli import main\ntry: main({words!r})\nexcept SystemExit: pass"

    assert not modules_after(code) & (HEAVY - {"rich.console"})


def test_the_version_is_the_one_of_the_package() -> None:
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()

    assert re.search(r'^version = "(.*)"$', text, re.M).group(1) == jobkit.__version__
