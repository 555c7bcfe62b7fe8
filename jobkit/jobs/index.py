"""What is listed of jobs that have ended, kept in one file so that their records need not be read again.

It is only ever a copy: an entry counts while its job's record is the very file that it was taken from, and
without the file, or with one that makes no sense, the records are read.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import jobkit
from jobkit.jobs.record import RECORD

FILE = "index.json"
# A record that was written again within one tick of a file system's clock would look like the one before.
_SETTLED_S = 2.0
Stamp = list[int]


class Entry(NamedTuple):
    """What is listed of a job.

    Attributes:
        created: RFC 3339, UTC.
        executor: Its name.
        scheduler_id: Its id with a scheduler, None without one.
        cells: Its row in the table of jobs.
    """

    created: str
    executor: str
    scheduler_id: str | None
    cells: list[str]


class Index:
    """The entries of a home, by the ids of the jobs."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        self._entries = _read(self._path)
        self._is_new = False

    def get(self, job_id: str, stamp: Stamp | None) -> Entry | None:
        """Return the entry of a job whose record is this file; None where it must be read."""
        kept = self._entries.get(job_id)
        if kept is None or stamp is None or kept[0] != stamp:
            return None
        return kept[1]

    def put(self, job_id: str, stamp: Stamp | None, entry: Entry) -> None:
        """Keep the entry of a job that has ended; the file was looked at before it was read."""
        if stamp is not None and stamp[1] < (time.time() - _SETTLED_S) * 1e9:
            self._entries[job_id] = (stamp, entry)
            self._is_new = True

    def save(self, job_ids: Collection[str]) -> None:
        """Write the entries of these jobs down, if that changes anything."""
        kept = {job_id: self._entries[job_id] for job_id in job_ids if job_id in self._entries}
        if not self._is_new and len(kept) == len(self._entries):
            return
        data = json.dumps({"jobkit": jobkit.__version__, "jobs": kept}, separators=(",", ":")).encode()
        with contextlib.suppress(OSError):  # it only saves time
            fd, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=self._path.parent)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                Path(name).replace(self._path)
            except OSError:
                Path(name).unlink(missing_ok=True)


def stamp(folder: Path | str) -> Stamp | None:
    """Return what tells a job's record from every other file; None without one."""
    try:
        seen = os.stat(f"{folder}/{RECORD}")  # noqa: PTH116, of many thousands a Path would be half the time
    except OSError:
        return None
    return [seen.st_ino, seen.st_mtime_ns, seen.st_size]


def _read(path: Path) -> dict[str, tuple[Stamp, Entry]]:
    """Return the entries in a file, none where it is not whole or another version's."""
    try:
        raw = json.loads(path.read_bytes())
        if raw["jobkit"] != jobkit.__version__:
            return {}
        return {job_id: (kept[0], _checked(kept[1])) for job_id, kept in raw["jobs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return {}


def _checked(fields: list[Any]) -> Entry:
    entry = Entry(*fields)
    texts = (entry.created, entry.executor, entry.scheduler_id or "", *entry.cells)
    if type(fields) is not list or set(map(type, texts)) != {str}:
        raise ValueError("not an entry")
    return entry
