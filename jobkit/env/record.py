"""The record of one rank's exit."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

SCHEMA = 1


@dataclass(frozen=True)
class RankExit:
    """How one rank ended; also the text of its record.

    Attributes:
        rank: Its rank.
        host: The host it ran on.
        status: 0-255; 128 plus the number for a signal.
        signal: The signal's name, None without one.
        ended_by_jobkit: Whether it was ended because the job ended; then it never gives the job's status.
        victim_of: The rank that its error named as the culprit.
        reason: "exit", "signal" or "not started".
        started, ended: RFC 3339, UTC.
        order: Position in time among the exits of this host: 0, 1, … as the agent saw them, or milliseconds
            of a clock for a rank that was watched by its own shim.
        hint: What is known about the cause beside the program's own words, with the remedy; "" for nothing.
    """

    rank: int
    host: str
    status: int
    signal: str | None
    ended_by_jobkit: bool
    victim_of: int | None
    reason: str
    started: str
    ended: str
    order: int
    hint: str = ""


def rfc3339(seconds: float) -> str:
    """Return a time, in seconds since the epoch, in UTC.

    >>> rfc3339(0.25)
    '1970-01-01T00:00:00.250Z'
    """
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now() -> str:
    """Return the time as RFC 3339 in UTC."""
    return rfc3339(time.time())


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
