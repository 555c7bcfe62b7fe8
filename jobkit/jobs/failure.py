"""Why a task failed: which rank first, what it said last, what the ranks were waiting for, what to try."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobkit.jobs import flights, folder, record
from jobkit.jobs.hints import hints
from jobkit.jobs.last_words import LastWords, last_words
from jobkit.jobs.record import ENDED, SUCCEEDED, Record, TaskRecord, first_failure


@dataclass(frozen=True)
class Failure:
    """What is known about a task that did not succeed.

    Attributes:
        task: Which; its exit has the first failing rank, the host and the kind of exit.
        words: What that rank, or the script that was to start it, said last.
        calls: What the flight recorders of its ranks say.
        hints: What to try.
    """

    task: TaskRecord
    words: LastWords | None
    calls: tuple[str, ...]
    hints: tuple[str, ...]


def failure(run_dir: Path, known: Record, task: TaskRecord) -> Failure | None:
    """Return why a task of a job failed; None while it runs, and of one that succeeded.

    Args:
        run_dir: The job's folder.
        known: The job's record.
        task: One of its tasks.
    """
    if task.state not in ENDED or task.state == SUCCEEDED:
        return None
    words = last_words(run_dir, task)
    task_dir = folder.task_folder(run_dir, task.point)
    calls = flights.findings(folder.attempt(task_dir, task.attempt)) if task.attempt else ()
    job = known.id.partition("/")[0]
    return Failure(task, words, calls, hints(task, words.lines if words else (), calls, job))


def first(run_dir: Path, known: Record) -> Failure | None:
    """Return why a job failed: its task that failed first; None while it runs, and of one that succeeded."""
    task = first_failure(known.tasks) if known.state in ENDED else None
    return None if task is None else failure(run_dir, known, task)


def lines(of: Failure) -> Iterator[str]:
    """Yield what to show people below the sentence that says how it ended."""
    if of.words is not None:
        yield f"last lines of {of.words.of}:"
        yield from (f"  {line}" for line in of.words.lines)
    if of.calls:
        yield "flight recorder:"
        yield from (f"  {sentence}" for sentence in of.calls)
    yield from (f"hint: {hint}" for hint in of.hints)


def to_json(of: Failure | None) -> dict[str, Any] | None:
    """Return what `status --json` shows of a failure as `failure`."""
    if of is None:
        return None
    exit_ = of.task.exit
    return {
        "point": of.task.point,
        "rank": exit_.rank if exit_ else None,
        "host": exit_.host if exit_ else None,
        "class": exit_.kind if exit_ else of.task.state,
        "last_lines_of": of.words.of if of.words else None,
        "last_lines": list(of.words.lines) if of.words else [],
        "flight_recorder": list(of.calls),
        "hints": list(of.hints),
    }


def status_json(run_dir: Path, known: Record) -> dict[str, Any]:
    """Return what `status --json` prints about a job, with why it failed."""
    return {**record.status_json(known), "failure": to_json(first(run_dir, known))}
