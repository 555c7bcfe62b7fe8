"""How a job ended, as an exit status and in words."""

from __future__ import annotations

from dataclasses import replace

from jobkit.env.record import RankExit
from jobkit.errors import Exit
from jobkit.jobs import clock
from jobkit.jobs.record import JobExit, RankRecord, TaskRecord

SUCCESS = JobExit(0)
LOST = JobExit(int(Exit.NOT_STARTED), kind="lost")
NOT_STARTED = JobExit(int(Exit.NOT_STARTED), kind="could not start")
TIME_LIMIT = JobExit(int(Exit.TIME_LIMIT), kind="time limit")
CANCELLED = JobExit(int(Exit.CANCELLED), kind="cancelled")
# What a status means when it is that of a program that never ran.
_UNSTARTED = {int(Exit.NOT_EXECUTABLE): "not executable", int(Exit.NOT_FOUND): "not found"}


def kind(status: int, signal: str | None) -> str:
    """Return in words how a program ended.

    >>> kind(7, None), kind(137, "SIGKILL")
    ('exit 7', 'killed by signal 9 (SIGKILL)')
    """
    return f"exit {status}" if signal is None else f"killed by signal {status - Exit.SIGNAL} ({signal})"


def of_rank(first: RankExit) -> JobExit:
    """Return the job's exit when this rank's decides it."""
    if first.reason == "not started":
        return unstarted(first.status, first.rank, first.host)
    return JobExit(first.status, first.rank, first.host, first.signal, kind(first.status, first.signal))


def unstarted(status: int, rank: int | None, host: str | None) -> JobExit:
    """Return the exit of a job whose program never ran.

    >>> unstarted(127, 0, "h").kind, unstarted(125, None, "h").kind
    ('not found', 'could not start')
    """
    return JobExit(status, rank, host, None, _UNSTARTED.get(status, "could not start"))


def told(exit_: JobExit) -> str:
    """Return a sentence about an exit.

    >>> told(JobExit(7, 1, "h", None, "exit 7")), told(CANCELLED)
    ('rank 1 on h: exit 7', 'cancelled')
    """
    if exit_.rank is None:
        return exit_.kind
    return f"rank {exit_.rank} on {exit_.host or 'this host'}: {exit_.kind}"


def explained(task: TaskRecord) -> str:
    """Return why a task did not succeed: its reason, and the kind of exit where that does not say so."""
    told_ = told(task.exit) if task.exit else task.state
    if task.reason is None or task.reason == told_:
        return told_
    kind_ = task.exit.kind if task.exit else task.state
    return task.reason if kind_ in task.reason else f"{kind_}: {task.reason}"


def with_exit(rank: RankRecord, ended: RankExit | None) -> RankRecord:
    """Return a rank with the end that its own record gives it."""
    if ended is None:
        return rank
    return replace(
        rank,
        host=ended.host,
        status=ended.status,
        signal=ended.signal,
        ended_by_jobkit=ended.ended_by_jobkit,
        victim_of=ended.victim_of,
        started=clock.normal(ended.started) if ended.started else rank.started,
        ended=clock.normal(ended.ended),
    )
