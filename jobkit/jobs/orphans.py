"""Processes of a job that has neither keeper nor agent any more.

An agent and its sentinel end a job's processes when either of them is killed; these are what is left when
both were killed at once. Found by JOBKIT_RUN_DIR in their environment, which only Linux shows: an id is
unique in one JOBKIT_HOME alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

_PROC = Path("/proc")
_GIVE_UP_S = 5.0
_POLL_S = 0.02


def find(run_dir: Path) -> list[int]:
    """Return the living processes of the job or point with this run folder, or of any point of it."""
    mark = os.fsencode(f"JOBKIT_RUN_DIR={run_dir}")
    return [int(path.name) for path in _PROC.glob("[0-9]*") if _belongs(path, mark) and not _is_dead(path)]


def _belongs(path: Path, mark: bytes) -> bool:
    variables = _read(path / "environ").split(b"\0")
    return any(variable == mark or variable.startswith(mark + b"/") for variable in variables)


def _is_dead(path: Path) -> bool:
    return _read(path / "stat").rpartition(b") ")[2][:1] in (b"Z", b"X", b"")


def _read(path: Path) -> bytes:
    """Return a file's bytes; nothing for a process that has ended or is another user's."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def end(run_dir: Path) -> bool:
    """Kill them; return whether none is left."""
    deadline = time.monotonic() + _GIVE_UP_S
    while pids := find(run_dir):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
