"""What is true about a job now, also when the process that wrote its record was killed."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path

from jobkit.agent import verdict
from jobkit.env.record import RankExit
from jobkit.jobs import clock, exits, folder, foreign, orphans, process
from jobkit.jobs.record import (
    ENDED,
    FAILED,
    LOST,
    SUCCEEDED,
    Record,
    TaskRecord,
    read,
    settled,
)


def look(run_dir: Path, *, ask: bool = True) -> Record:
    """Return what is known about a job.

    While its keeper lives that is the record. When the keeper is gone without having written an end, the
    ranks' own exit records decide; where they do not, the job is lost. A scheduler's job has no keeper.

    Args:
        run_dir: The job's folder.
        ask: Another machine is asked about a job that it submitted; else that is as last known.

    Raises:
        UnreadableError: There is no readable record.
    """
    elsewhere = foreign.look(run_dir)
    if elsewhere is not None:
        return elsewhere
    record = read(run_dir)
    if record.state not in ENDED and (run_dir / folder.REMOTE).exists():
        from jobkit.remote import mirror

        return mirror.look(run_dir, record) if ask else record
    if record.state not in ENDED and record.executor == "slurm":
        from jobkit.slurm import truth

        return truth.look(run_dir, record)
    if record.state in ENDED or is_kept(run_dir, record):
        return record
    record = read(run_dir)  # the end may have been written between the two looks
    if record.state in ENDED:
        return record
    seen = _unseen(record) or _ending(record, run_dir)
    return replace(record, reason=seen) if seen else _derived(record, run_dir)


def is_kept(run_dir: Path, record: Record) -> bool:
    """Tell whether the job's submitter or keeper is at work on this machine."""
    held = folder.is_held(run_dir)
    if held is None:
        return any(process.is_alive(who) for who in (record.keeper, record.origin.submitter) if who)
    return held


def _unseen(record: Record) -> str | None:
    """Return why this machine cannot tell, None when it can."""
    who = record.keeper or record.origin.submitter
    if who.boot_id == process.boot_id() or who.host == socket.gethostname():
        return None
    return f"as last written on {who.host}, which cannot be seen from here"


def _ending(record: Record, run_dir: Path) -> str | None:
    """Return what is going on when the keeper is gone but what it started is not, None when all is gone."""
    if any(task.agent and process.is_alive(task.agent) for task in record.tasks):
        return "its keeper is gone; what it started is being ended"
    left = orphans.find(run_dir) if record.keeper is not None else []
    if left:
        return f"its keeper and agents were killed; {len(left)} processes run on until it is cancelled"
    return None


def _derived(record: Record, run_dir: Path) -> Record:
    why = _why(record)
    tasks = tuple(_task(task, folder.task_folder(run_dir, task.point), why) for task in record.tasks)
    return settled(replace(record, tasks=tasks))


def _why(record: Record) -> str:
    who = record.keeper
    if who is None:
        return f"its submission (process {record.origin.submitter.pid}) was killed before the job ran"
    if who.boot_id != process.boot_id():
        return f"{who.host} was restarted while the job ran"
    return f"its keeper (process {who.pid} on {who.host}) was killed"


def _task(task: TaskRecord, task_dir: Path, why: str) -> TaskRecord:
    """Return the task with the end that its ranks' own exit records give it."""
    if task.state in ENDED:
        return task
    exits_ = {rank.rank: _exit(task, task_dir, rank.rank) for rank in task.ranks}
    known = [ended for ended in exits_.values() if ended is not None]
    ranks = tuple(exits.with_exit(rank, exits_[rank.rank]) for rank in task.ranks)
    ended = max((rank.ended for rank in ranks if rank.ended), default=None)
    first = verdict.first_failure(known)
    task = replace(task, ranks=ranks, ended=ended, reason=why)
    if first is not None:
        return replace(task, state=FAILED, exit=exits.of_rank(first), failed=clock.normal(first.ended))
    if ranks and len(known) == len(ranks) and not any(rank.ended_by_jobkit for rank in known):
        return replace(task, state=SUCCEEDED, exit=exits.SUCCESS, reason=None)
    return replace(task, state=LOST, exit=exits.LOST, failed=ended)


def _exit(task: TaskRecord, task_dir: Path, rank: int) -> RankExit | None:
    """Return a rank's own exit record; None where there is none, as of a rank killed with its agent."""
    try:
        raw = json.loads(folder.output(task_dir, task.attempt, rank, "exit.json").read_bytes())
        raw.pop("schema")
        return RankExit(**raw)
    except (OSError, ValueError, KeyError, TypeError):
        return None
