"""What Slurm says of this user's jobs: all of them in one question, at most one a second for all who ask."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from jobkit.errors import SubmitError
from jobkit.jobs import home
from jobkit.slurm import client, shared
from jobkit.slurm.shared import Told

# Without a width squeue cuts at 20 characters. A comment may hold anything, so it is last; 0 is no limit.
_FIELDS = ("JobArrayID", "State", "exit_code", "StartTime", "EndTime", "Reason")
_FORMAT = ",".join((*(f"{name}:0|" for name in _FIELDS), "Comment:128"))
_UNKNOWN_TIMES = ("", "N/A", "Unknown", "(null)", "None", "NONE")
_ENDED = "COMPLETED FAILED TIMEOUT DEADLINE OUT_OF_MEMORY NODE_FAIL BOOT_FAIL CANCELLED REVOKED PREEMPTED"
ENDED = frozenset(_ENDED.split())
# A number that was written down so recently may be missing in an answer that is a little older, whatever
# clock a file server has.
_YOUNG_S = 60.0


@dataclass(frozen=True)
class Seen:
    """One job in Slurm's tables, or one element of an array.

    Attributes:
        number: Slurm's id: `12`, or `12_3` of an array.
        state: Slurm's word: PENDING, RUNNING, COMPLETED…
        start: When it started, or is expected to: RFC 3339, UTC; None where Slurm cannot tell.
        reason: Slurm's word for why it waits or ended, "" without one.
        comment: What it was submitted with.
        status: Exit status of its script, None while it has not ended.
        end: When it ended, None while it has not.
    """

    number: str
    state: str
    start: str | None
    reason: str
    comment: str
    status: int | None = None
    end: str | None = None


def every(environ: Mapping[str, str], *, after: float | None = None) -> Mapping[str, Seen]:
    """Return the jobs that Slurm's controller knows, by number: those of this user that have not long ended.

    Args:
        environ: The environment of who asks.
        after: An answer from before this moment (seconds since the epoch) is not good enough.

    Raises:
        UnansweredError: Slurm does not answer, or is not installed here.
    """
    told = shared.ask(_kept(environ), lambda: _asked(environ), after=after)
    if told.out is None:
        raise client.UnansweredError(told.wrong)
    return _rows(told.out)


def find(numbers: Collection[str], environ: Mapping[str, str], *, since: float) -> dict[str, Seen]:
    """Return what Slurm says of some jobs: its controller, or its database of what that has forgotten.

    Args:
        numbers: Slurm's ids, `12_3` of an array's element.
        environ: The environment of who asks.
        since: When the numbers became known (seconds since the epoch).

    Raises:
        UnansweredError: Slurm does not answer, or is not installed here.
    """
    try:
        rows = every(environ)
        if time.time() - since < _YOUNG_S and not rows.keys() >= set(numbers):
            rows = every(environ, after=time.time())
    except client.UnansweredError:
        # The database may answer while the controller is away; of what goes on it knows too little.
        found = accounted(numbers, environ)
        if not all(number in found and found[number].state in ENDED for number in numbers):
            raise
        return found
    missing = [number for number in numbers if number not in rows]
    return {number: rows[number] for number in numbers if number in rows} | accounted(missing, environ)


def _kept(environ: Mapping[str, str]) -> Path:
    """Return where the answers lie: a file for each cluster that is asked, user and host.

    Per host, as hosts that share a home may belong to different clusters.
    """
    which = "\0".join((os.uname().nodename, environ.get("SLURM_CONF", ""), str(os.getuid())))
    folder = home.home(environ) / "slurm"
    with contextlib.suppress(OSError):  # where it cannot be made, each process asks for itself
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"queue-{hashlib.sha256(which.encode()).hexdigest()[:16]}.json"


def _asked(environ: Mapping[str, str]) -> Told:
    """Ask squeue, and scontrol where a site's squeue does not understand the question."""
    began = time.time()
    own = _own_environ(environ)
    wrong = ""
    for words, lines in ((_SQUEUE, str), (_SCONTROL, _as_lines)):
        try:
            answer = client.call(words, own, timeout_s=_PATIENCE_S)
        except client.UnansweredError as error:
            wrong = str(error)
            break
        except SubmitError as error:
            wrong = wrong or str(error)
            continue
        if answer.status == 0 and _is_told(lines(answer.out)):
            return Told(began, lines(answer.out))
        wrong = wrong or f"{words[0]}: {answer.words}"
        if _OF_CONTROLLER in answer.words:
            break
    # How long it took counts: a controller that is away is not asked again at once.
    return Told(time.time(), None, wrong)


def _is_told(text: str) -> bool:
    """Tell whether a text is about jobs, or about none: a program of the same name may say anything."""
    return not text.strip() or bool(_rows(text))


def _own_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a question; ranges of an array's elements are not cut in its answer."""
    return {**client.own_environ(environ), "SLURM_BITSTR_LEN": "0"}


# A look waits no longer for an answer: what was known last is told then.
_PATIENCE_S = 20.0
_OF_CONTROLLER = "slurm_load_jobs error"
_SQUEUE = ("squeue", "--me", "--all", "--states=all", "--array", "--noheader", f"--Format={_FORMAT}")
_SCONTROL = ("scontrol", "show", "job", "--oneliner", "--all")


@functools.lru_cache(maxsize=1)
def _rows(text: str) -> dict[str, Seen]:
    return {seen.number: seen for seen in map(parsed, text.splitlines()) if seen is not None}


def parsed(line: str) -> Seen | None:
    """Return what a line of squeue says; None where it is no such line.

    >>> parsed("7_1|FAILED|768|2026-11-22T10:00:00|2026-11-22T10:00:09|NonZeroExitCode|jobkit:a").status
    3
    """
    fields = [field.strip() for field in line.split("|", len(_FIELDS))]
    if len(fields) != len(_FIELDS) + 1:
        return None
    number, state, code, start, end, reason, comment = fields
    comment = "" if comment == "(null)" else comment
    seen = Seen(number, state, moment(start), "" if reason == "None" else reason, comment)
    return _with_end(seen, code, end)


def _with_end(seen: Seen, code: str, end: str) -> Seen:
    """Return it with what is true of jobs that have ended alone: Slurm guesses an end of others."""
    return replace(seen, status=_status(code), end=moment(end)) if seen.state in ENDED else seen


def moment(text: str) -> str | None:
    """Return a time of Slurm's, asked for in UTC, as records write it."""
    return None if text in _UNKNOWN_TIMES else f"{text}.000000Z"


def _as_lines(text: str) -> str:
    """Return what `scontrol show job --oneliner` says of this user's jobs as squeue says it."""
    mine = f"({os.getuid()})"
    found = [fields for fields in map(_fields, text.splitlines()) if fields.get("UserId", "").endswith(mine)]
    return "".join(line for fields in found for line in _lines(fields))


def _fields(text: str) -> dict[str, str]:
    """Return the names and values of a job that scontrol shows.

    >>> _fields("JobId=7 JobName=a State=x UserId=me(1) JobState=FAILED")
    {'JobId': '7', 'UserId': 'me(1)', 'JobState': 'FAILED'}
    """
    # The name is free text, and what follows it is Slurm's until the paths at the end.
    before, _, after = text.partition(" JobName=")
    fields: dict[str, str] = {}
    for word in f"{before} UserId={after.partition(' UserId=')[2]}".split():
        name, equals, value = word.partition("=")
        if equals:
            fields.setdefault(name, value)
    return fields


def _lines(fields: Mapping[str, str]) -> list[str]:
    """Return a line for a job, or for each element of an array that scontrol shows as one."""
    numbers = [fields.get("JobId", "")]
    if "ArrayTaskId" in fields:
        numbers = [f"{fields.get('ArrayJobId')}_{index}" for index in indices(fields["ArrayTaskId"])]
    names = ("JobState", "ExitCode", "StartTime", "EndTime", "Reason", "Comment")
    rest = "|".join(fields.get(name, "") for name in names)
    return [f"{number}|{rest}\n" for number in numbers]


def indices(text: str) -> list[int]:
    """Return the elements of an array that wait together.

    >>> indices("1,3-5,10-20:5%2")
    [1, 3, 4, 5, 10, 15, 20]
    """
    found: list[int] = []
    for part in text.partition("%")[0].split(","):
        ends, _, step = part.partition(":")
        first, _, last = ends.partition("-")
        found += range(int(first), int(last or first) + 1, int(step or 1))
    return found


def accounted(numbers: Collection[str], environ: Mapping[str, str]) -> dict[str, Seen]:
    """Return what the accounting database says of some jobs, without those that it does not know."""
    if not numbers:
        return {}
    names = "JobID,State,ExitCode,Start,End,Comment"
    jobs = ",".join(sorted({number.partition("_")[0] for number in numbers}))
    words = ("sacct", "--noheader", "--allocations", "--parsable2", f"--format={names}")
    try:
        answer = client.call((*words, f"--jobs={jobs}"), _own_environ(environ), timeout_s=_PATIENCE_S)
    except SubmitError:
        return {}
    rows = (line.split("|", 5) for line in answer.out.splitlines() if line.count("|") >= 5)
    found = {number: _of_row(number, *row[1:]) for row in rows for number in _numbers(row[0])}
    return {number: found[number] for number in numbers if number in found}


def _numbers(text: str) -> list[str]:
    """Return the numbers that a row is about: elements of an array that never started share one.

    >>> _numbers("7"), _numbers("7_1"), _numbers("7_[1-3%2]")
    (['7'], ['7_1'], ['7_1', '7_2', '7_3'])
    """
    job, bracket, waiting = text.rstrip("]").partition("_[")
    return [f"{job}_{index}" for index in indices(waiting)] if bracket else [text]


def _of_row(number: str, state: str, code: str, start: str, end: str, comment: str) -> Seen:
    # 'CANCELLED by 1000'
    return _with_end(Seen(number, state.partition(" ")[0], moment(start), "", comment), code, end)


def _status(text: str) -> int | None:
    """Return the exit status in what Slurm says: `code:signal`, or the number that wait(2) returns.

    >>> _status("3:0"), _status("0:9"), _status("768"), _status("9")
    (3, 137, 3, 137)
    """
    code, colon, number = text.partition(":")
    if not (code.isdecimal() and (number.isdecimal() or not colon)):
        return None
    raw = int(code)
    status, signal = (raw, int(number)) if colon else (raw >> 8 & 0xFF, raw & 0x7F)
    return 128 + signal if signal else status
