"""The record of a job: what is known about it, in one file that is always whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from jobkit.errors import Exit
from jobkit.jobs import files
from jobkit.jobs.process import Identity

SCHEMA = 1
RECORD = "record.json"

SUBMITTING = "submitting"
QUEUED = "queued"
STARTING = "starting"
RUNNING = "running"
REQUEUED = "requeued"
SUCCEEDED = "succeeded"
FAILED = "failed"
TIMEOUT = "timeout"
CANCELLED = "cancelled"
PREEMPTED = "preempted"
LOST = "lost"
STATES = (
    SUBMITTING, QUEUED, STARTING, RUNNING, REQUEUED, SUCCEEDED, FAILED, TIMEOUT, CANCELLED, PREEMPTED, LOST,
)  # fmt: skip
ENDED = frozenset((SUCCEEDED, FAILED, TIMEOUT, CANCELLED, PREEMPTED, LOST))
# Of several tasks that have not all ended, the state that comes first here is the job's.
_LIVELIEST = (RUNNING, STARTING, REQUEUED, QUEUED, SUBMITTING)


@dataclass(frozen=True)
class JobExit:
    """How a job or task ended.

    Attributes:
        status: What `jobkit wait` exits with.
        rank: The rank that failed first, None when none did.
        host: Where that rank ran.
        signal: The signal that ended it, 'SIGKILL'.
        kind: In words: 'exit 7', 'killed by signal 9 (SIGKILL)', 'not found'. Written as `class`.
    """

    status: int
    rank: int | None = None
    host: str | None = None
    signal: str | None = None
    kind: str = "exit 0"


@dataclass(frozen=True)
class RankRecord:
    """One rank of the latest attempt.

    Attributes:
        pid: Its program's process on `host`, None before it is started.
        status: Its exit status, 128 + n for signal n; None while it runs.
        ended_by_jobkit: It was ended because of the job, so its status says nothing about the program.
        victim_of: The rank that its error named as the culprit, None without one.
        started, ended: RFC 3339, UTC.
    """

    rank: int
    host: str | None = None
    pid: int | None = None
    status: int | None = None
    signal: str | None = None
    ended_by_jobkit: bool = False
    victim_of: int | None = None
    started: str | None = None
    ended: str | None = None


@dataclass(frozen=True)
class TaskRecord:
    """One run of the program: all of a plain job, one point of a sweep.

    Attributes:
        point: The sweep point's name, None for a plain job.
        values: What the sweep sets at this point.
        attempt: The latest attempt, from 1; 0 before the first.
        failed: When the rank that decided the exit ended; orders the failures of a sweep.
        agent: The process that holds the task's ranks, None before it is started.
    """

    point: str | None
    values: dict[str, str] = field(default_factory=dict)
    state: str = QUEUED
    reason: str | None = None
    attempt: int = 0
    exit: JobExit | None = None
    ranks: tuple[RankRecord, ...] = ()
    started: str | None = None
    ended: str | None = None
    failed: str | None = None
    agent: Identity | None = None


@dataclass(frozen=True)
class Origin:
    """Where a job comes from, so that it can be understood and run again.

    Attributes:
        argv: The command line that submitted it.
        cwd: The directory of submission.
        source: The spec's path as given; its stem is the default name.
        executor, ranks, overrides, args: What the command line laid over the spec.
        jobkit: The version that submitted it.
        git: {commit, branch, diff, diff_truncated} of the working tree, None where there is none.
        submitter: The process that submitted it.
    """

    argv: tuple[str, ...]
    cwd: str
    source: str
    executor: str | None
    ranks: int | None
    overrides: tuple[str, ...]
    args: tuple[str, ...]
    jobkit: str
    git: dict[str, Any] | None
    submitter: Identity


@dataclass(frozen=True)
class Record:
    """A job.

    Attributes:
        scheduler_id: Its id with a scheduler, None for the local executor.
        state, reason, exit: Of the whole job; the reason is None where the state says all.
        keeper: The process that runs it, None before it runs.
        created, started, ended: RFC 3339, UTC.
    """

    id: str
    name: str
    executor: str
    state: str
    created: str
    tasks: tuple[TaskRecord, ...]
    origin: Origin
    scheduler_id: str | None = None
    reason: str | None = None
    exit: JobExit | None = None
    started: str | None = None
    ended: str | None = None
    keeper: Identity | None = None

    @property
    def attempt(self) -> int:
        """The latest attempt of any task."""
        return max((task.attempt for task in self.tasks), default=0)

    @property
    def is_sweep(self) -> bool:
        """Whether the tasks are points of a sweep."""
        return any(task.point is not None for task in self.tasks)


class UnreadableError(Exception):
    """A record that is not there or cannot be understood; the text says why."""


def write(folder: Path, record: Record, *, last: bool = False) -> bool:
    """Write a job's record; return whether there was room.

    Args:
        last: Nothing more will be written: the space set aside for this moment is used and given back.
    """
    data = dumps(record).encode()
    if last:
        files.drop_ballast(folder)
    try:
        files.replace(folder / RECORD, data)
    except OSError as error:
        if not files.is_full(error):
            raise
        return False
    return True


def read(folder: Path) -> Record:
    """Read a job's record.

    Raises:
        UnreadableError: There is none, or it is not one.
    """
    try:
        return loads((folder / RECORD).read_bytes())
    except OSError as error:
        raise UnreadableError(f"{folder / RECORD}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableError(f"{folder / RECORD}: not a record of a job: {error}") from error


def dumps(record: Record) -> str:
    """Return the text of a record: a key a line, and a task a line, as a sweep may have thousands.

    It is written whole at each change, so it is made without the walks of `asdict` and of an indented text.
    """
    data = {"schema": SCHEMA, **vars(record), "exit": exit_json(record.exit), "attempt": record.attempt}
    data["origin"], data["keeper"] = asdict(record.origin), _identity_json(record.keeper)
    tasks = ",\n  ".join(json.dumps(_task_data(task)) for task in data.pop("tasks"))
    lines = [f' "{key}": {json.dumps(value)}' for key, value in data.items()]
    return "{\n" + ",\n".join([*lines, f' "tasks": [\n  {tasks}\n ]']) + "\n}\n"


def _task_data(task: TaskRecord) -> dict[str, Any]:
    own = {"exit": exit_json(task.exit), "agent": _identity_json(task.agent)}
    return {**vars(task), **own, "ranks": [vars(rank) for rank in task.ranks]}


def _identity_json(identity: Identity | None) -> dict[str, Any] | None:
    return None if identity is None else asdict(identity)


def loads(data: bytes) -> Record:
    """Return the record that a text holds; ValueError, KeyError or TypeError when it holds none."""
    raw = json.loads(data)
    if raw.pop("schema") != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    raw.pop("attempt")
    origin = raw["origin"]
    listed = {key: tuple(origin[key]) for key in ("argv", "overrides", "args")}
    submitter = Identity(**origin["submitter"])
    raw["origin"] = Origin(**{**origin, **listed, "submitter": submitter})
    raw["tasks"] = tuple(map(_task, raw["tasks"]))
    return Record(**{**raw, "exit": _exit(raw["exit"]), "keeper": _identity(raw["keeper"])})


def _task(raw: dict[str, Any]) -> TaskRecord:
    ranks = tuple(RankRecord(**rank) for rank in raw["ranks"])
    return TaskRecord(**{**raw, "ranks": ranks, "exit": _exit(raw["exit"]), "agent": _identity(raw["agent"])})


def _identity(raw: dict[str, Any] | None) -> Identity | None:
    return None if raw is None else Identity(**raw)


def exit_json(exit_: JobExit | None) -> dict[str, Any] | None:
    """Return an exit as `status --json` shows it."""
    if exit_ is None:
        return None
    data = asdict(exit_)
    data["class"] = data.pop("kind")
    return data


def _exit(raw: dict[str, Any] | None) -> JobExit | None:
    return None if raw is None else JobExit(kind=raw.pop("class"), **raw)


def settled(record: Record) -> Record:
    """Return the record with the job's own state, reason, exit and times drawn from its tasks.

    The exit of a sweep is that of the point that failed first in time; `Record.ended` is the last end.
    """
    tasks = record.tasks
    started = min((task.started for task in tasks if task.started), default=None)
    unended = [task for task in tasks if task.state not in ENDED]
    if unended:
        state = min((task.state for task in unended), key=_LIVELIEST.index)
        if any(task.state in ENDED for task in tasks) and state == QUEUED:
            state = RUNNING  # between two points of a sweep
        reason = next((task.reason for task in unended if task.state == state and task.reason), None)
        return replace(record, state=state, reason=reason, exit=None, started=started, ended=None)
    first = first_failure(tasks)
    ended = max((task.ended for task in tasks if task.ended), default=None)
    if first is None:
        return replace(record, state=SUCCEEDED, reason=None, exit=JobExit(0), started=started, ended=ended)
    reason = first.reason if first.point is None else _at_point(first)
    return replace(record, state=first.state, reason=reason, exit=first.exit, started=started, ended=ended)


def _at_point(task: TaskRecord) -> str:
    return f"point {task.point}" + (f": {task.reason}" if task.reason else "")


def first_failure(tasks: tuple[TaskRecord, ...]) -> TaskRecord | None:
    """Return the task that failed first in time, None when all succeeded."""
    failures = [task for task in tasks if task.state != SUCCEEDED]
    return min(failures, key=lambda task: task.failed or task.ended or "~", default=None)


def status_json(record: Record) -> dict[str, Any]:
    """Return what `status --json` prints about a job."""
    ranks = () if record.is_sweep else record.tasks[0].ranks
    points = record.tasks if record.is_sweep else ()
    return {
        "id": record.id,
        "name": record.name,
        "executor": record.executor,
        "scheduler_id": record.scheduler_id,
        "state": record.state,
        "reason": record.reason,
        "attempt": record.attempt,
        "exit": exit_json(record.exit),
        "ranks": [asdict(rank) for rank in ranks],
        "tasks": [_task_json(record.id, task) for task in points],
        "created": record.created,
        "started": record.started,
        "ended": record.ended,
    }


def unreadable_json(job_id: str, reason: str) -> dict[str, Any]:
    """Return the same about a job whose record cannot be read."""
    exit_ = exit_json(JobExit(int(Exit.NOT_STARTED), kind="lost"))
    nothing = dict.fromkeys(("scheduler_id", "created", "started", "ended"))
    text = {"id": job_id, "name": job_id, "executor": "", "state": LOST, "reason": reason}
    return {**text, **nothing, "attempt": 0, "exit": exit_, "ranks": [], "tasks": []}


def _task_json(job_id: str, task: TaskRecord) -> dict[str, Any]:
    return {
        "id": f"{job_id}/{task.point}",
        "point": task.point,
        "values": task.values,
        "state": task.state,
        "reason": task.reason,
        "attempt": task.attempt,
        "exit": exit_json(task.exit),
        "ranks": [asdict(rank) for rank in task.ranks],
        "started": task.started,
        "ended": task.ended,
    }


def narrowed(record: Record, point: str) -> Record:
    """Return one point of a sweep as if it were a job of its own; KeyError when there is no such point."""
    task = next((task for task in record.tasks if task.point == point), None)
    if task is None:
        raise KeyError(point)
    number = scheduled(record, task)
    alone = replace(
        record, id=f"{record.id}/{point}", scheduler_id=number, tasks=(replace(task, point=None),)
    )
    return settled(alone)


def scheduled(record: Record, task: TaskRecord) -> str | None:
    """Return a task's id with the scheduler, which has a sweep as an array: '12_3' is point 3 of job 12."""
    if record.scheduler_id is None or task.point is None:
        return record.scheduler_id
    return f"{record.scheduler_id}_{task.point}"
