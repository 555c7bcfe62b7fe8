"""What Slurm says of this user's jobs: all of them in one question, at most one a second."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from jobkit.slurm import client

_FORMAT = "%i|%T|%S|%r|%k"  # a comment may hold anything, so it is last
# No answer is older than this (seconds); and Slurm's controller serves every user of the site.
FRESH_S = 1.0
_UNKNOWN_TIMES = ("", "N/A", "Unknown", "(null)", "None")


@dataclass(frozen=True)
class Seen:
    """One job in Slurm's tables.

    Attributes:
        number: Slurm's id.
        state: Slurm's word: PENDING, RUNNING, COMPLETED…
        start: When it started, or is expected to: RFC 3339, UTC; None where Slurm cannot tell.
        reason: Slurm's word for why it waits or ended, "" without one.
        comment: What it was submitted with.
        status: Exit status of its script, None where this was not asked.
    """

    number: str
    state: str
    start: str | None
    reason: str
    comment: str
    status: int | None = None


_last: tuple[float, dict[str, Seen]] | None = None


def every(environ: Mapping[str, str]) -> dict[str, Seen]:
    """Return the jobs that Slurm's controller knows, by number: those of this user that have not long ended.

    Raises:
        SubmitError: Slurm does not answer, or is not installed here.
    """
    global _last
    if _last is None or time.monotonic() - _last[0] > FRESH_S:
        _last = None
        jobs = _asked(environ)
        _last = (time.monotonic(), jobs)
    return _last[1]


def _asked(environ: Mapping[str, str]) -> dict[str, Seen]:
    words = ("squeue", "--me", "--states=all", "--array", "--noheader", f"--format={_FORMAT}")
    answer = client.call(words, client.own_environ(environ))
    if answer.status:
        raise client.UnansweredError(f"squeue: {answer.words}")
    return {seen.number: seen for seen in map(parsed, answer.out.splitlines()) if seen is not None}


def parsed(line: str) -> Seen | None:
    """Return what a line of squeue says; None where it is no such line.

    >>> parsed("7|RUNNING|2026-11-22T10:00:00|None|jobkit:a").start
    '2026-11-22T10:00:00.000000Z'
    """
    fields = line.split("|", 4)
    if len(fields) != 5:
        return None
    number, state, start, reason, comment = fields
    return Seen(number, state, moment(start), "" if reason == "None" else reason, comment)


def moment(text: str) -> str | None:
    """Return a time of Slurm's, asked for in UTC, as records write it."""
    return None if text in _UNKNOWN_TIMES else f"{text}.000000Z"


def one(number: str, environ: Mapping[str, str]) -> Seen | None:
    """Return a job that the queue no longer has or that has ended, with its exit status; None if unknown.

    Raises:
        SubmitError: Slurm does not answer, or is not installed here.
    """
    return _shown(number, environ) or _accounted(number, environ)


def _shown(number: str, environ: Mapping[str, str]) -> Seen | None:
    answer = client.call(("scontrol", "show", "job", "--oneliner", number), client.own_environ(environ))
    if answer.status:
        if "Invalid job id" in answer.words:
            return None
        raise client.UnansweredError(f"scontrol: {answer.words}")
    return described(answer.out)


def described(text: str) -> Seen | None:
    """Return what `scontrol show job --oneliner` says; None where that is nothing.

    >>> described("JobId=7 JobName=a UserId=me(1) JobState=FAILED Reason=NonZeroExitCode ExitCode=3:0")
    Seen(number='7', state='FAILED', start=None, reason='NonZeroExitCode', comment='', status=3)
    """
    # The name is free text, and what follows it is Slurm's until the paths at the end.
    before, _, after = text.partition(" UserId=")
    fields: dict[str, str] = {}
    for word in (before.partition(" ")[0] + " " + after).split():
        name, equals, value = word.partition("=")
        if equals:
            fields.setdefault(name, value)
    if "JobState" not in fields:
        return None
    reason = fields.get("Reason", "None")
    return Seen(
        fields.get("JobId", ""),
        fields["JobState"],
        moment(fields.get("StartTime", "")),
        "" if reason == "None" else reason,
        fields.get("Comment", ""),
        _status(fields.get("ExitCode", "")),
    )


def _accounted(number: str, environ: Mapping[str, str]) -> Seen | None:
    """Return what the accounting database knows, where the site has one."""
    fields = "JobID,State,ExitCode,Start,Comment"
    words = ("sacct", "--noheader", "--allocations", "--parsable2", f"--format={fields}", f"--jobs={number}")
    answer = client.call(words, client.own_environ(environ))
    row = answer.out.partition("\n")[0].split("|", 4)
    if answer.status or len(row) != 5:
        return None
    # 'CANCELLED by 1000'
    return Seen(row[0], row[1].partition(" ")[0], moment(row[3]), "", row[4], _status(row[2]))


def _status(text: str) -> int | None:
    """Return the exit status in Slurm's `code:signal`."""
    code, colon, number = text.partition(":")
    if not (colon and code.isdecimal() and number.isdecimal()):
        return None
    return 128 + int(number) if int(number) else int(code)
