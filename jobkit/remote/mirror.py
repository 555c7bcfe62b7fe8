"""The record here of a job that a login node submitted: brought up to date whenever somebody looks."""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobkit.errors import SubmitError, complaint
from jobkit.jobs import clock, exits, folder, record
from jobkit.jobs.record import Record
from jobkit.remote import login as logins
from jobkit.remote import session, sync
from jobkit.remote.connection import LostError
from jobkit.remote.login import Login

# No answer is older than this; Slurm there is not asked more often than once a second anyway.
FRESH_S = 0.5
_LONGEST_PAUSE_S = 30.0
# The only names that are written here.
_OUTPUT = re.compile(
    r"(\d+/)?attempt-\d+/(rank-\d+\.(out|err|exit\.json)|batch\.exit\.json)|slurm-[\w.-]+\.log"
)


@dataclass
class _Last:
    """What this process knows of a job.

    Attributes:
        until: Before this moment nobody is asked again (monotonic seconds).
        known: The latest record, None before the first.
        failures: How often in a row the login node could not be reached.
    """

    until: float = 0.0
    known: Record | None = None
    failures: int = 0


_last: dict[Path, _Last] = {}


def look(run_dir: Path, known: Record) -> Record:
    """Return what is known about a job that had not ended when its record was written here.

    Raises:
        SubmitError: The login node refuses us, or cannot answer.
    """
    login = logins.read(run_dir)
    if login is None or (known.scheduler_id is None and folder.is_held(run_dir)):
        return known
    last = _last.setdefault(run_dir, _Last())
    if time.monotonic() < last.until and last.known is not None:
        return last.known
    try:
        now = fetched(run_dir, known, login)
        last.known, last.failures = now or _gone(run_dir, known, login), 0
        last.until = time.monotonic() + FRESH_S
    except LostError as error:
        session.drop(*login.key)
        last.failures += 1
        # Of many who wait for one machine not all come back at once.
        pause = min(_LONGEST_PAUSE_S, 2.0**last.failures) * random.uniform(0.5, 1.0)
        last.until = time.monotonic() + pause
        reason = f"as last known, since {_in_a_line(error)}"
        last.known = replace(last.known or known, reason=reason)
    return last.known


def _in_a_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def fetched(run_dir: Path, known: Record, login: Login) -> Record | None:
    """Bring a job's record and its ranks' output here; return the record, None where there is no such job.

    Raises:
        LostError: The login node cannot be reached now.
        SubmitError: It refuses us, or cannot answer.
    """
    talk = session.get(*login.key)
    head: dict[str, Any] = {"ask": "look", "id": known.id, "token": token(known, os.environ)}
    body = b"" if known.id in talk.known else json.dumps(_sizes(run_dir)).encode()
    answer, data = talk.ask(head, body)
    talk.known.add(known.id)
    if answer["record"] is None:
        return None
    text = answer["record"]
    while True:
        _write(run_dir, answer["files"], data, talk)
        # While it runs the rest comes with the next look; of one that has ended nothing is missing.
        if not answer["more"] or (text and not _has_ended(text)):
            break
        answer, data = talk.ask(head)
        text = answer["record"] or text
    return _kept(run_dir, text, talk) if text else record.read(run_dir)


def _has_ended(text: str) -> bool:
    return json.loads(text)["state"] in record.ENDED


def _sizes(run_dir: Path) -> dict[str, int]:
    paths = (path for path in run_dir.rglob("*") if path.is_file())
    found = {str(path.relative_to(run_dir)): path.stat().st_size for path in paths}
    return {name: size for name, size in found.items() if _OUTPUT.fullmatch(name)}


def _write(run_dir: Path, files: list[list[Any]], data: bytes, talk: session.Session) -> None:
    """Write parts of files where they belong."""
    start = 0
    for name, offset, size in files:
        if not _OUTPUT.fullmatch(name):
            raise SubmitError(complaint(talk.login, "sends a file that is none of the job's", got=name))
        path = run_dir / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.pwrite(fd, data[start : start + size], offset)
            if name.endswith(".json"):
                os.ftruncate(fd, size)
        finally:
            os.close(fd)
        start += size


def _kept(run_dir: Path, text: str, talk: session.Session) -> Record:
    """Write down a record as it is there; where the job comes from is known better here."""
    mine = record.read(run_dir)
    try:
        theirs = record.loads(text.encode())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        wrong = f"jobkit {talk.jobkit} there writes records that this version does not read: {error}"
        raise SubmitError(complaint(talk.login, wrong)) from error
    now = replace(theirs, origin=mine.origin, created=mine.created)
    if now == mine:
        return now
    # Of several who look at once one writes.
    try:
        lock = folder.hold(run_dir)
    except OSError:
        lock = None
    if lock is not None or _is_own(run_dir):
        record.write(run_dir, now, last=now.state in record.ENDED)
    if lock is not None:
        os.close(lock)
    return now


def _is_own(run_dir: Path) -> bool:
    """Tell whether this process is the submitter, which holds the lock already."""
    return record.read(run_dir).origin.submitter.pid == os.getpid()


def _gone(run_dir: Path, known: Record, login: Login) -> Record:
    """Return the end of a job that is not there; one that never came there is written down as lost."""
    if known.state == record.SUBMITTING:
        why = f"its submission did not reach {login.login}"
    else:
        why = f"{login.login} has no record of it any more; it was {known.state} when last seen"
    now = clock.rfc3339(clock.now())
    tasks = tuple(
        task
        if task.state in record.ENDED
        else replace(task, state=record.LOST, reason=why, exit=exits.LOST, ended=now)
        for task in known.tasks
    )
    lost = record.settled(replace(known, tasks=tasks))
    if known.state == record.SUBMITTING:
        record.write(run_dir, lost, last=True)
    return lost


def token(known: Record, environ: Mapping[str, str]) -> str:
    """Return what tells a submission from every other one that may choose the same id."""
    return f"{sync.machine(environ)} {known.created}"


def cancel(run_dir: Path, job: str) -> None:
    """Ask for a job, or a point of one, to be cancelled where it is.

    Raises:
        SubmitError: The login node cannot be reached, or refuses.
    """
    login = logins.read(run_dir)
    assert login is not None, "a job that was sent"
    _last.pop(run_dir, None)
    try:
        session.get(*login.key).ask({"ask": "cancel", "job": job})
    except LostError:
        session.drop(*login.key)
        session.get(*login.key).ask({"ask": "cancel", "job": job})
