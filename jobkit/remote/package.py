"""The jobkit that is brought to hosts: what agents, shims and keepers need, and nothing that is compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import jobkit
from jobkit.remote.there import run
from jobkit.remote.tree import Face

ROOT = Path(jobkit.__file__).parent.parent
_PARTS = ("__init__.py", "errors.py", "plan.py", "env", "agent", "jobs", "executors", "remote")


@lru_cache(maxsize=1)
def manifest() -> dict[str, Face]:
    """Return its files, by path below ROOT."""
    paths = [path for part in _PARTS for path in _files(ROOT / "jobkit" / part)]
    return {str(path.relative_to(ROOT)): ("f", 0, _digest(path)) for path in sorted(paths)}


def _files(part: Path) -> list[Path]:
    return [part] if part.is_file() else list(part.rglob("*.py"))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def name() -> str:
    """Return the name of its copies, which never change: those of other content have other names."""
    told = hashlib.sha256("".join(digest for _, _, digest in manifest().values()).encode())
    return f"jobkit-{jobkit.__version__}-{told.hexdigest()[:12]}"


def words(folder: str | None, module: str) -> Sequence[str]:
    """Return what an interpreter is given to run a module of a jobkit.

    Args:
        folder: Where its copy is; None for the one that the interpreter has.
        module: `jobkit.agent`.

    >>> words("/trees/jobkit-1", "jobkit.agent"), words(None, "jobkit.agent")
    (('/trees/jobkit-1/jobkit/remote/there/run.py', 'jobkit.agent'), ('-m', 'jobkit.agent'))
    """
    return ("-m", module) if folder is None else (f"{folder}/{run.PATH}", module)
