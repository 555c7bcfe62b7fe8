"""Watch a job until it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from jobkit.errors import SubmitError
from jobkit.jobs import record, truth
from jobkit.jobs.find import Found
from jobkit.jobs.record import ENDED, Record

# A look costs a file of a few kilobytes and a lock, well under a millisecond.
POLL_S = 0.1


def look(found: Found) -> Record:
    """Return what is true about a job or point now.

    Raises:
        SubmitError: Its record is not there, or is none.
    """
    try:
        known = truth.look(found.folder)
    except record.UnreadableError as error:
        raise SubmitError(f"job {found.id}: {error}") from error
    return known if found.point is None else record.narrowed(known, found.point)


def until_ended(
    jobs: list[Found],
    *,
    on_change: Callable[[Record], None] = lambda _: None,
    on_look: Callable[[Found, Record], None] = lambda *_: None,
    deadline_s: float | None = None,
) -> list[Record]:
    """Wait until all jobs have ended; return what is known about them then.

    Args:
        on_change: Called with the record when its state or attempt has changed, and at first.
        on_look: Called with each record at each look, the last one included.
        deadline_s: Seconds after which it stops waiting and returns what it last saw.
    """
    start = time.monotonic()
    seen: dict[Found, Record] = {}
    while True:
        for found in jobs:
            if found in seen and seen[found].state in ENDED:
                continue
            now = look(found)
            changed = found not in seen or _face(seen[found]) != _face(now)
            seen[found] = now
            # What a job wrote last is passed on before its end is told.
            if now.state in ENDED:
                on_look(found, now)
            if changed:
                on_change(now)
            if now.state not in ENDED:
                on_look(found, now)
        late = deadline_s is not None and time.monotonic() - start > deadline_s
        if late or all(known.state in ENDED for known in seen.values()):
            return [seen[found] for found in jobs]
        time.sleep(POLL_S)


def _face(known: Record) -> tuple[object, ...]:
    return known.state, known.reason, tuple((task.state, task.attempt) for task in known.tasks)


def first_failure(records: list[Record]) -> Record | None:
    """Return the job that failed first in time, None when all succeeded."""
    failures = [known for known in records if known.exit is None or known.exit.status != 0]
    return min(failures, key=_failed, default=None)


def _failed(known: Record) -> str:
    times = [task.failed or task.ended for task in known.tasks if task.state != record.SUCCEEDED]
    return min((moment for moment in times if moment), default="~")


def exit_status(records: list[Record]) -> int:
    """Return the status of the job that failed first in time, 0 when all succeeded."""
    first = first_failure(records)
    return 0 if first is None or first.exit is None else first.exit.status
