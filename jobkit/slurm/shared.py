"""One answer for everybody who asks: this user's processes on a host put a question once a second."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# No answer is older than this (seconds); and Slurm's controller serves every user of the site.
FRESH_S = 1.0
# Somebody who was stopped in the middle of the question is not waited for any longer (seconds).
PATIENCE_S = 10.0
_POLL_S = 0.02
_Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Told:
    """An answer, or why there was none.

    Attributes:
        moment: What it says was true then (seconds since the epoch).
        out: The answer, None where there was none.
        wrong: Why there was none.
    """

    moment: float
    out: str | None
    wrong: str = ""


def ask(path: Path, question: Callable[[], Told], *, after: float | None = None) -> Told:
    """Return an answer that is at most a second old; ask where nobody has, and nobody is at it.

    Args:
        path: Where the answer is kept, for all processes with the same question.
        question: Puts it. What it returns is kept, whether it is an answer or not.
        after: An answer from before this moment (seconds since the epoch) is not good enough.
    """
    since = time.time() - FRESH_S if after is None else after
    until = time.monotonic() + PATIENCE_S
    while True:
        told = _read(path)
        if told is not None and since <= told.moment <= time.time():
            return told
        with _turn(path) as is_mine:
            if (is_mine and _is_time(_read(path))) or time.monotonic() > until:
                told = question()
                _write(path, told)
                return told
        time.sleep(_POLL_S)


def _is_time(last: Told | None) -> bool:
    """Say whether the question may be put: nobody just did."""
    return last is None or not 0 <= time.time() - last.moment <= FRESH_S


@contextlib.contextmanager
def _turn(path: Path) -> Iterator[bool]:
    """Hold the lock of an answer, if nobody has it; where it cannot be had, everybody is first."""
    try:
        fd = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield True
        return
    try:
        yield _is_first(fd)
    finally:
        os.close(fd)


def _is_first(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks
    return True


# The last answer that this process has read or had, and the file it is from: it is parsed once, and it is all
# there is where none can be written.
_known: dict[Path, tuple[_Stamp | None, Told | None]] = {}


def _read(path: Path) -> Told | None:
    """Return what is kept, None where there is nothing that can be understood."""
    stamp = _stamp(path)
    known = _known.get(path, (None, None))
    if known[0] != stamp:
        known = _known[path] = (stamp, _parsed(path))
    return known[1]


def _stamp(path: Path) -> _Stamp | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_ino, seen.st_mtime_ns, seen.st_size


def _parsed(path: Path) -> Told | None:
    try:
        raw = json.loads(path.read_bytes())
        told = Told(float(raw["moment"]), raw["out"], str(raw["wrong"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return told if told.out is None or isinstance(told.out, str) else None


def _write(path: Path, told: Told) -> None:
    """Keep an answer for the others."""
    data = json.dumps({"moment": told.moment, "out": told.out, "wrong": told.wrong}).encode()
    with contextlib.suppress(OSError):  # without room each process asks for itself
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
    _known[path] = (_stamp(path), told)
