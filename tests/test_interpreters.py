"""The wheel builds, installs and works on every Python from 3.10 to 3.13 that this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

REPOSITORY = Path(__file__).resolve().parent.parent
MINORS = (10, 11, 12, 13)


def answers_as(python: str, minor: int) -> bool:
    """Say whether a command is a CPython 3.MINOR that can make environments."""
    probe = f"import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, {minor}))"
    done = subprocess.run([python, "-c", probe], capture_output=True)
    return done.returncode == 0


def interpreter(minor: int) -> str | None:
    """Return a Python 3.MINOR: one on PATH, or one that pyenv keeps."""
    kept = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    found = [shutil.which(f"python3.{minor}"), *map(str, sorted(kept.glob(f"3.{minor}.*/bin/python")))]
    return next((python for python in found if python and answers_as(python, minor)), None)


def run(*command: str | Path, **options: object) -> str:
    """Run a command, fail with all it printed if it fails, and return its stdout."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=900, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for wheels, so that 3.13 finds the one that 3.12 built."""
    return tmp_path_factory.mktemp("wheels")


def wheel_for(python: Path, minor: int, wheels: Path) -> Path:
    """Return the wheel for an interpreter, built if none serves it yet."""
    tag = "cp312-abi3" if minor >= 12 else f"cp3{minor}-cp3{minor}"
    if not list(wheels.glob(f"*{tag}*.whl")):
        source = wheels.parent / f"source-3.{minor}"
        ignored = shutil.ignore_patterns("build", ".git", "__pycache__", "*.so", ".*_cache", ".hypothesis")
        shutil.copytree(REPOSITORY, source, ignore=ignored)
        run(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, source)
    (wheel,) = wheels.glob(f"*{tag}*.whl")
    return wheel


@pytest.mark.parametrize("minor", MINORS)
def test_the_wheel_serves_this_python(minor: int, wheels: Path, tmp_path: Path) -> None:
    found = interpreter(minor)
    if found is None:
        pytest.skip(f"no Python 3.{minor} with venv on this machine")
    run(found, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", wheel_for(python, minor, wheels))
    shutil.copy(REPOSITORY / "docs/examples/numpy_allsum.py", tmp_path)
    environ = {
        **os.environ,
        "JOBKIT_HOME": str(tmp_path / "home"),
        "PATH": f"{python.parent}:{os.environ['PATH']}",
    }

    version = run(tmp_path / "venv/bin/jobkit", "--version")
    ranks = run(
        tmp_path / "venv/bin/jobkit",
        "launch",
        "-n",
        "2",
        "--",
        "python",
        "numpy_allsum.py",
        cwd=tmp_path,
        env=environ,
    )
    checked = run(tmp_path / "venv/bin/jobkit", "validate", REPOSITORY / "configs/local.yaml")

    assert version.startswith("jobkit ")
    assert sorted(line[:6] for line in ranks.splitlines()) == ["0 [2. ", "1 [2. "]
    assert "ok" in checked
