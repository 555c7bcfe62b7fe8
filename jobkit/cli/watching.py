"""Watch jobs from the command line: states, output, how they failed, and what to exit with."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from jobkit.cli import actions, talk
from jobkit.cli.events import emit
from jobkit.errors import Exit, SpecError, SubmitError, complaint
from jobkit.jobs import cancel, exits, failure, folder, follow, interrupts, junit, watch
from jobkit.jobs.find import Found
from jobkit.jobs.record import ENDED, LOST, SUCCEEDED, Record, TaskRecord

# Of a sweep that fails as a whole the first points tell enough.
_MOST_FAILURES = 10


def to_stream(name: str) -> Callable[[bytes], None]:
    """Return what writes bytes to standard output (`out`) or standard error at once."""
    stream = sys.stdout if name == follow.OUT else sys.stderr

    def write(data: bytes) -> None:
        stream.flush()  # text and bytes in the order in which they were written
        stream.buffer.write(data)
        stream.buffer.flush()

    return write


def report_state(known: Record) -> None:
    """Say in one line what state a job is in."""
    done = sum(task.state in ENDED for task in known.tasks)
    points = f" ({done} of {len(known.tasks)} points ended)" if known.is_sweep else ""
    attempt = f" (attempt {known.attempt})" if known.attempt > 1 and not known.is_sweep else ""
    reason = f": {known.reason}" if known.reason and known.state not in ENDED else ""
    talk.say(f"{known.id}: {known.state}{attempt}{points}{reason}")


def report_unless_good(known: Record) -> None:
    """Say what state a job is in, but let the program that succeeded have the last word."""
    if known.state != SUCCEEDED:
        report_state(known)


def emit_state(known: Record) -> None:
    """Print a job's state as an event."""
    emit("state", id=known.id, state=known.state, reason=known.reason, attempt=known.attempt)


def report_failures(found: Found, known: Record) -> None:
    """Say which tasks failed, how, with which last words, and where the rest of them is."""
    failed = [task for task in known.tasks if task.state in ENDED and task.state != SUCCEEDED]
    for task in failed[:_MOST_FAILURES]:
        _report_failure(found, known, task)
    if len(failed) > _MOST_FAILURES:
        rest = len(failed) - _MOST_FAILURES
        talk.say(f"and {rest} more points that did not succeed: jobkit status {known.id}")


def _report_failure(found: Found, known: Record, task: TaskRecord) -> None:
    point = "" if task.point is None else f"/{task.point}"
    talk.error(f"{known.id}{point} {task.state}: {exits.explained(task)}")
    why = failure.failure(found.base, known, task)
    for line in failure.lines(why) if why else ():
        talk.say(line)
    task_dir = folder.task_folder(found.base, task.point)
    talk.say(f"logs: {task_dir / f'attempt-{task.attempt}' if task.attempt else task_dir}")


def followers(*, as_json: bool) -> Callable[[Found, Record], None]:
    """Return what passes on the output of jobs, given each one's latest record."""
    known_followers: dict[Found, follow.Follower] = {}
    # In a pipe the program's own lines, so that a script sees what it would see without jobkit.
    choice = follow.Choice(labelled=sys.stdout.isatty())

    def pump(found: Found, known: Record) -> None:
        if found not in known_followers:
            sinks = {
                name: follow.Sink(_event_writer(found.id, name) if as_json else to_stream(name))
                for name in (follow.OUT, follow.ERR)
            }
            known_followers[found] = follow.Follower(found.base, choice, sinks)
        known_followers[found].pump(known, to_the_end=known.state in ENDED)

    return pump


def _event_writer(job_id: str, stream: str) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        emit("output", id=job_id, stream=stream, text=data.decode(errors="replace"))

    return write


def owning(jobs: list[Found], body: Callable[[], int], junit_file: str | None = None) -> int:
    """Run something on behalf of jobs that belong to this command; ^C and TERM cancel them.

    Args:
        jobs: May grow while `body` runs; a job that was not submitted yet is passed over.
        body: Returns the exit status.
        junit_file: Where a report is written, also of jobs that were cancelled.
    """
    with interrupts.terminable():
        try:
            return body()
        except KeyboardInterrupt as interrupt:
            submitted = [found for found in jobs if found.exists]
            _cancel(submitted)
            _report(junit_file, submitted, [watch.look(found) for found in submitted])
            is_term = isinstance(interrupt, interrupts.Terminated)
            return Exit.CANCELLED if is_term else Exit.INTERRUPTED


def to_the_end(
    jobs: list[Found], *, with_output: bool = False, as_json: bool = False, junit_file: str | None = None
) -> int:
    """Watch jobs until all have ended; return the status of the one that failed first.

    Args:
        with_output: Pass on what they write.
        as_json: Events on standard output, in place of lines on standard error.
        junit_file: Where a report is written.
    """
    pump = followers(as_json=as_json) if with_output else (lambda *_: None)
    tell = emit_state if as_json else report_unless_good if with_output else report_state
    records = watch.until_ended(jobs, on_change=tell, on_look=pump)
    for found, known in zip(jobs, records, strict=True):
        if as_json:
            emit("ended", **failure.status_json(found.base, known))
        else:
            report_failures(found, known)
    _report(junit_file, jobs, records)
    if len(jobs) > 1 and not as_json:
        _report_suite(records)
    return watch.exit_status(records)


def _report_suite(records: list[Record]) -> None:
    good = sum(known.state == SUCCEEDED for known in records)
    talk.say(f"{good} of {len(records)} jobs succeeded")
    first = watch.first_failure(records)
    if first is not None:
        talk.say(f"first to fail: {first.id}: {exits.told(first.exit) if first.exit else LOST}")


def _cancel(jobs: list[Found]) -> None:
    """Cancel jobs and wait until they have ended; another ^C stops waiting."""
    if not jobs:
        return
    talk.say("jobkit: interrupted, cancelling " + ", ".join(found.id for found in jobs))
    for found in jobs:
        cancel.request(found)
    watch.until_ended(jobs, on_change=report_state)


def check_junit(path: str | None) -> None:
    """Complain about a report that could not be written, before the work whose report it is.

    Raises:
        SpecError: Its folder is not there, or it is itself a folder.
    """
    if path is None:
        return
    if not Path(path).absolute().parent.is_dir():
        raise SpecError(complaint(f"--junit {path}", "its folder is not there"))
    if Path(path).is_dir():
        raise SpecError(complaint(f"--junit {path}", "is a folder", expected="a file"))


def _report(junit_file: str | None, jobs: list[Found], records: list[Record]) -> None:
    """Write what the service reads that runs this command: JUnit's report, GitHub's annotations."""
    if not jobs:
        return
    ended = [(found.base, known) for found, known in zip(jobs, records, strict=True)]
    actions.report(ended, os.environ)
    if junit_file is not None:
        _write(junit_file, junit.report(ended))


def _write(path: str, data: bytes) -> None:
    try:
        Path(path).write_bytes(data)  # in place: it may be /dev/stdout
    except OSError as error:
        raise SubmitError(complaint(f"--junit {path}", f"cannot be written: {error.strerror}")) from error
