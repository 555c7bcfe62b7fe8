"""Keep tables of schedules that were measured, a file for each set of conditions."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobkit import __version__

CPU_INFO = Path("/proc/cpuinfo")
MOST_BYTES = 4096


@dataclass(frozen=True)
class Tables:
    """The tables in a folder. What cannot be read, or was not written by this user, is not there.

    Attributes:
        folder: Where the files are; made with the first.
        version: What measured them: a table of another version is another table.
        processor: The model of the processor.
    """

    folder: Path
    version: str = __version__
    processor: str = ""

    def recall(self, conditions: str) -> str | None:
        """Return the table that was kept for these conditions, None if there is none."""
        with contextlib.suppress(OSError, ValueError):
            head, table, *rest = _read_own(self._file(conditions)).decode("ascii").split("\n")
            return table if head == self._head(conditions) and rest == [""] else None
        return None

    def keep(self, conditions: str, table: str) -> None:
        """Keep a table for these conditions, if the folder can be written; readers see all of it or none."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=".schedules-")
            path = Path(name)
            try:
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(f"{self._head(conditions)}\n{table}\n")
                path.replace(self._file(conditions))
            except OSError:
                path.unlink()

    def _head(self, conditions: str) -> str:
        return f"jobkit {self.version}, {conditions}, {self.processor}"

    def _file(self, conditions: str) -> Path:
        return self.folder / f"schedules-{hashlib.sha256(self._head(conditions).encode()).hexdigest()[:16]}"


def tables(environ: Mapping[str, str]) -> Tables | None:
    """Return the tables of this user, in $XDG_CACHE_HOME/jobkit or ~/.cache/jobkit; None without a home."""
    base = Path(environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111 HOME may be unknown
    return Tables(base / "jobkit", processor=processor()) if base.is_absolute() else None


def processor() -> str:
    """Return the model of the first processor as Linux calls it, "" where it does not."""
    with contextlib.suppress(OSError), CPU_INFO.open(errors="replace") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip().encode("ascii", "replace").decode()
            if not name.strip():
                break  # the next processor
    return ""


def _read_own(path: Path) -> bytes:
    """Return what is in a short file that only this user can have written.

    Raises:
        OSError: It is something else.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        is_own = facts.st_uid == os.geteuid() and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not (is_own and stat.S_ISREG(facts.st_mode) and facts.st_size <= MOST_BYTES):
            raise PermissionError(f"{path}: not a file of this user's own")
        return file.read(MOST_BYTES)
