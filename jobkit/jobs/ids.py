"""Job ids: short, sortable by time, and safe in a path, a shell and a scheduler's comment."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from jobkit.errors import SpecError, complaint

LAST = "last"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NAME_LENGTH = 32


def new_id(name: str, now: datetime, salt: str) -> str:
    """Return an id for a job of this name.

    Args:
        name: The job's name; what is not safe in a path becomes a dash.
        now: The moment of submission, aware; ids sort by it.
        salt: A few random characters, so that two jobs of one second differ.

    >>> new_id("my job", datetime(2026, 11, 22, 10, 15, 30, tzinfo=timezone.utc), "c0de")
    '20261122-101530-my-job-c0de'
    """
    safe = re.sub(r"[^A-Za-z0-9._]+", "-", name)[:_NAME_LENGTH].strip("-.") or "job"
    return f"{now.astimezone(timezone.utc):%Y%m%d-%H%M%S}-{safe}-{salt}"


def checked(job_id: str) -> str:
    """Return an id that a user chose.

    Raises:
        SpecError: It cannot be a job's id.
    """
    if job_id == LAST or not _ID.fullmatch(job_id):
        expected = f"1 to 100 of A-Z a-z 0-9 . _ -, the first a letter or digit, and not {LAST!r}"
        raise SpecError(complaint("--id", "not a job id", got=job_id, expected=expected))
    return job_id
