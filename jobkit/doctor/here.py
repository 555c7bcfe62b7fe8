"""Checks of this machine: versions, the engine, and the folder of records."""

from __future__ import annotations

import importlib
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import jobkit
from jobkit.doctor.row import FAILS, OK, WARNING, Question, Row
from jobkit.jobs import home

_CORE = "jobkit.native._core"


def checks(question: Question) -> Iterator[Row]:
    """Yield what this interpreter has, and whether jobs can be recorded."""
    yield Row("jobkit", OK, jobkit.__version__)
    yield Row("Python", OK, f"{platform.python_version()} ({sys.executable})")
    yield engine()
    yield mlx()
    yield folder(question.environ)


def engine() -> Row:
    """Return whether the compiled engine can be loaded."""
    try:
        importlib.import_module(_CORE)
    except ImportError as error:
        return Row("engine", FAILS, str(error), "pip install --force-reinstall jobkit")
    return Row("engine", OK, "loads")


def mlx() -> Row:
    """Return the version of MLX."""
    try:
        return Row("MLX", OK, metadata.version("mlx"))
    except metadata.PackageNotFoundError:
        return Row("MLX", WARNING, "not installed for this interpreter", "pip install 'jobkit[mlx]'")


def folder(environ: Mapping[str, str]) -> Row:
    """Return whether records and secrets can be kept, for this user's eyes only."""
    place = home.home(environ)
    try:
        home.make(environ)
        private = _is_private(home.jobs(environ))
    except OSError as error:
        found = f"{place}: cannot be written ({error.strerror})"
        return Row("JOBKIT_HOME", FAILS, found, "set JOBKIT_HOME to a folder of yours")
    if not private:
        found = f"{place}: files there do not keep mode 600"
        return Row("JOBKIT_HOME", FAILS, found, "set JOBKIT_HOME to a file system with Unix permissions")
    mode = stat.S_IMODE(place.stat().st_mode)
    if mode & 0o077:
        return Row("JOBKIT_HOME", WARNING, f"{place}: mode {mode:o}", f"chmod 700 {place}")
    return Row("JOBKIT_HOME", OK, str(place))


def _is_private(place: Path) -> bool:
    """Say whether a file that is to be this user's alone is so once it is there."""
    with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-") as file:
        about = os.fstat(file.fileno())
        return about.st_uid == os.geteuid() and stat.S_IMODE(about.st_mode) == 0o600
