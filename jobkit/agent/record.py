"""The record of one rank's exit."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from datetime import datetime, timezone
from pathlib import Path

from jobkit.agent.events import RankExit

SCHEMA = 1


def now() -> str:
    """Return the time as RFC 3339 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def signal_name(number: int) -> str:
    """Return the name of a signal; Python knows the first and the last of the real-time ones alone.

    >>> signal_name(9)
    'SIGKILL'
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        first = getattr(signal, "SIGRTMIN", number)
        return f"SIGRTMIN+{number - first}" if number > first else f"SIG{number}"


def write_exit(folder: Path, ended: RankExit) -> None:
    """Write `rank-R.exit.json`, mode 0600, at once: a reader finds all of it or none.

    Raises:
        OSError: The folder is gone, or its disk is full.
    """
    path = folder / f"rank-{ended.rank}.exit.json"
    temporary = folder / f".rank-{ended.rank}.exit.json"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump({"schema": SCHEMA, **dataclasses.asdict(ended)}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_victim(folder: Path, rank: int) -> int | None:
    """Return the rank that this rank's error named as the culprit, None if it named none."""
    try:
        said = json.loads((folder / f"rank-{rank}.victim.json").read_text())
    except (OSError, ValueError, RecursionError):
        return None
    culprit = said.get("victim_of") if isinstance(said, dict) else None
    return culprit if isinstance(culprit, int) and culprit != rank else None
