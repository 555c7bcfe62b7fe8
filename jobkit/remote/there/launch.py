"""Say what a launch has to know of a host, and become its agent."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import frames

_WHERE = "SSH_CONNECTION"  # '10.0.0.9 50022 10.0.0.1 22': the client's address and port, then this host's
_VERSION = "import jobkit; print(jobkit.__version__)"
_VERSION_S = 60


def look(environ: dict[str, str], python: str, workdir: str, is_asked_for: bool, words: Sequence[str]) -> Any:
    """Return what is true of this host alone.

    Args:
        environ: Of the login.
        python: The interpreter that has jobkit.
        workdir: Where the program is to start.
        is_asked_for: Whether it must: otherwise a folder that is not there means the login's own.
        words: The program and its arguments.
    """
    folder = workdir if is_asked_for or Path(workdir).is_dir() else str(Path.cwd())
    return {
        **seen(environ),
        "python": python,
        "jobkit": _version(python),
        "workdir": folder,
        "has_workdir": Path(folder).is_dir() and os.access(folder, os.X_OK),
        "needs_python": needs_python(words, folder),
    }


def seen(environ: dict[str, str]) -> dict[str, Any]:
    """Return where this host is, for itself and for whoever has logged in, and the login's environment."""
    ends = environ.get(_WHERE, "").split()
    return {
        "host": os.uname().nodename,
        "client": ends[0] if len(ends) == 4 else "",
        "address": ends[2] if len(ends) == 4 else "",
        "environ": environ,
    }


def needs_python(words: Sequence[str], workdir: str) -> bool:
    """Say whether the program is a Python file of the working directory that cannot be run as it stands.

    `mlx.launch -n 4 script.py` is in every tutorial.
    """
    path = Path(workdir, words[0])
    is_file = words[0].endswith(".py") and path.is_file()
    return is_file and not ("/" in words[0] and os.access(path, os.X_OK))


def _version(python: str) -> str | None:
    """Return the version of jobkit that an interpreter has, None without."""
    # Not of the login's folder, where anything may be called jobkit.
    asked = subprocess.run(
        [python, "-c", _VERSION], cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=_VERSION_S
    )
    return asked.stdout.decode(errors="replace").strip() or None


def main(marker: str, *asked: Any) -> None:
    """Answer on standard output, and leave it and the input to the agent; what is before the marker is noise.

    Args:
        marker: The line that the answer follows.
        *asked: As `look` takes it, after the interpreter.
    """
    found = look(dict(os.environ), sys.executable, *asked)
    sys.stdout.buffer.write(f"\n{marker}\n".encode() + frames.packed(found))
    sys.stdout.buffer.flush()
    if found["jobkit"] is not None:
        os.chdir("/")
        os.execv(sys.executable, [sys.executable, "-m", "jobkit.agent"])
