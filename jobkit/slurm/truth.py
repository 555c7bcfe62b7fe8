"""What is true about a job of Slurm's: what its ranks have written comes first, then what Slurm says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jobkit.agent import verdict
from jobkit.env.record import RankExit
from jobkit.errors import Exit, SubmitError
from jobkit.jobs import clock, exits, folder, record, secret_file
from jobkit.jobs.record import JobExit, Record, TaskRecord
from jobkit.slurm import queue
from jobkit.slurm.epilogue import BatchExit, batch_exit, rank_exits
from jobkit.slurm.queue import Seen
from jobkit.slurm.script import COMMENT, LOG

_WAITING = {"PENDING": record.QUEUED, "CONFIGURING": record.STARTING}
_WAITING |= dict.fromkeys(("REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"), record.REQUEUED)
_RUNNING = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING", "STAGE_OUT")
# How Slurm ended a job, whatever its ranks made of it.
_ENDED = {
    "TIMEOUT": (record.TIMEOUT, exits.TIME_LIMIT, "its time limit was reached"),
    "DEADLINE": (record.TIMEOUT, exits.TIME_LIMIT, "its deadline was reached"),
    "OUT_OF_MEMORY": (record.FAILED, JobExit(137, kind="out of memory"), "Slurm ended it: out of memory"),
    "NODE_FAIL": (
        record.LOST,
        JobExit(int(Exit.NOT_STARTED), kind="node failure"),
        "one of its nodes failed",
    ),
    "BOOT_FAIL": (record.LOST, JobExit(int(Exit.NOT_STARTED), kind="node failure"), "a node did not boot"),
    "CANCELLED": (record.CANCELLED, exits.CANCELLED, "cancelled in Slurm"),
    "REVOKED": (record.CANCELLED, exits.CANCELLED, "revoked by a sibling cluster"),
    "PREEMPTED": (record.PREEMPTED, JobExit(int(Exit.CANCELLED), kind="preempted"), "preempted"),
}
_GONE = "Slurm here does not know it (SLURM_CONF names the cluster), and its ranks left no records"


def look(run_dir: Path, known: Record) -> Record:
    """Return what is known about a job that had not ended when its record was written.

    An end, and a number that was lost, are written down.
    """
    if known.scheduler_id is None and folder.is_held(run_dir):
        return known
    known = record.read(run_dir)  # the submitter may have written it between the two looks
    if known.state in record.ENDED:
        return known
    try:
        now = _seen(run_dir, known, os.environ)
    except SubmitError as error:
        return replace(known, reason=f"as last known, since Slurm cannot be asked: {error}")
    # Another cluster's Slurm may have been asked: what it does not know is not written down as lost.
    is_certain = now.state in record.ENDED and not (now.exit and now.exit.kind == exits.LOST.kind)
    if is_certain or now.scheduler_id != known.scheduler_id:
        _keep(run_dir, now)
    return now


def _keep(run_dir: Path, now: Record) -> None:
    """Write down what was found out, unless another process is at it."""
    ended = now.state in record.ENDED
    try:
        lock = folder.hold(run_dir)
    except OSError:
        return
    try:
        if record.read(run_dir).state not in record.ENDED:
            record.write(run_dir, now, last=ended)
        if ended:
            secret_file.erase(run_dir)
    finally:
        os.close(lock)


def _seen(run_dir: Path, known: Record, environ: Mapping[str, str]) -> Record:
    task, attempt = known.tasks[0], _attempt(run_dir)
    attempt_dir = run_dir / f"attempt-{attempt}"
    found, batch = rank_exits(attempt_dir), batch_exit(attempt_dir)
    task = _with_ranks(task, attempt, found)
    first = verdict.first_failure(found.values())
    # Where no rank failed by itself, only Slurm knows why srun did not succeed: a node, a limit, a user.
    by_itself = first is not None and first.victim_of is None
    if known.scheduler_id is not None and batch is not None and (by_itself or batch.srun == 0):
        return _settled(known, _decided(task, first, batch, None))
    own = known.scheduler_id or number(known, run_dir, environ)
    if own is None:
        why = f"its submission (process {known.origin.submitter.pid}) was killed before Slurm had it"
        return _settled(known, replace(task, state=record.LOST, reason=why, exit=exits.LOST))
    known = replace(known, scheduler_id=own)
    seen = _ours(queue.every(environ).get(own), known)
    if seen is None or seen.state in (*_ENDED, "COMPLETED", "FAILED"):
        seen = _ours(queue.one(own, environ), known) or seen
    cancelled = (run_dir / folder.CANCEL).exists()
    return _settled(known, _described(task, seen, first, batch, own, run_dir, cancelled))


def _ours(seen: Seen | None, known: Record) -> Seen | None:
    """Return a job if it is the one meant: another cluster may use the same number.

    Accounting keeps no comments unless the site wants it to.
    """
    return seen if seen is not None and seen.comment in ("", COMMENT + known.id) else None


def number(known: Record, run_dir: Path, environ: Mapping[str, str]) -> str | None:
    """Return the number of a job whose submitter did not come to write it down; None where Slurm has none.

    Raises:
        SubmitError: Slurm does not answer.
    """
    before, _, after = LOG.partition("%j")
    logs = sorted(path.name for path in run_dir.glob(f"{before}*{after}"))
    if logs:
        return logs[0].removeprefix(before).removesuffix(after)
    comment = COMMENT + known.id
    return next((seen.number for seen in queue.every(environ).values() if seen.comment == comment), None)


def _attempt(run_dir: Path) -> int:
    """Return the latest attempt that has begun, 0 before the first."""
    numbers = [path.name.removeprefix("attempt-") for path in run_dir.glob("attempt-*")]
    return max((int(text) for text in numbers if text.isdecimal()), default=0)


def _described(
    task: TaskRecord,
    seen: Seen | None,
    first: RankExit | None,
    batch: BatchExit | None,
    own: str,
    run_dir: Path,
    cancelled: bool,
) -> TaskRecord:
    """Return the task as Slurm sees it."""
    if seen is None:
        if first is not None or (batch is not None) or _all_ended_well(task):
            return _decided(task, first, batch, None)
        return replace(task, state=record.LOST, reason=f"job {own}: {_GONE}", exit=exits.LOST)
    if seen.state in _WAITING:
        return replace(task, state=_WAITING[seen.state], reason=_why_it_waits(seen))
    if seen.state in _RUNNING:
        reason = None if seen.state in ("RUNNING", "COMPLETING") else seen.state.lower()
        return replace(task, state=record.RUNNING, reason=reason, started=seen.start)
    task = replace(task, started=task.started or seen.start)
    if seen.state in _ENDED:
        return _ended_by_slurm(task, seen, first, cancelled)
    task = _decided(task, first, batch, seen)
    log = run_dir / LOG.replace("%j", own)
    if task.state == record.FAILED and task.exit is not None and task.exit.rank is None:
        return replace(task, reason=f"no rank left a record of a failure; see {log}")
    return task


def _why_it_waits(seen: Seen) -> str:
    """Return why a job waits, and when it may start: 'Resources, expected to start 2026-11-22T10:00:00Z'."""
    expected = f", expected to start {seen.start[:19]}Z" if seen.start else ""
    return (seen.reason or seen.state) + expected


def _ended_by_slurm(task: TaskRecord, seen: Seen, first: RankExit | None, cancelled: bool) -> TaskRecord:
    state, exit_, reason = _ENDED[seen.state]
    if seen.state == "CANCELLED" and cancelled:
        reason = "cancelled by its user"
    elif seen.reason.startswith("Dependency"):
        reason = "a job that it comes after did not succeed"
    if seen.state == "OUT_OF_MEMORY" and first is not None:
        exit_ = replace(exit_, rank=first.rank, host=first.host, signal=first.signal)
    now = clock.rfc3339(clock.now())
    ended = task.ended or now
    return replace(task, state=state, exit=exit_, reason=reason, ended=ended, failed=ended)


def _decided(
    task: TaskRecord, first: RankExit | None, batch: BatchExit | None, seen: Seen | None
) -> TaskRecord:
    """Return the task with the end that its ranks' records give it, or its script's status without them."""
    ended = clock.normal(batch.ended) if batch else task.ended or clock.rfc3339(clock.now())
    task = replace(task, ended=ended, reason=None)
    if first is not None:
        return replace(task, state=record.FAILED, exit=exits.of_rank(first), failed=clock.normal(first.ended))
    status = batch.status if batch else _status(seen)
    if status == 0:
        return replace(task, state=record.SUCCEEDED, exit=exits.SUCCESS)
    exit_ = JobExit(status, kind=exits.kind(status, None))
    if batch and batch.rank is not None:
        exit_ = JobExit(status, batch.rank, batch.host, "SIGKILL", exits.kind(status, "SIGKILL"))
    return replace(task, state=record.FAILED, exit=exit_, failed=ended)


def _status(seen: Seen | None) -> int:
    if seen is None or seen.state == "COMPLETED":
        return 0
    return seen.status or int(Exit.NOT_STARTED)


def _all_ended_well(task: TaskRecord) -> bool:
    return bool(task.ranks) and all(rank.status == 0 for rank in task.ranks)


def _with_ranks(task: TaskRecord, attempt: int, found: Mapping[int, RankExit]) -> TaskRecord:
    from jobkit.jobs.truth import with_exit

    ranks = tuple(with_exit(rank, found.get(rank.rank)) for rank in task.ranks)
    started = min((rank.started for rank in ranks if rank.started), default=task.started)
    ended = max((rank.ended for rank in ranks if rank.ended), default=None)
    return replace(task, attempt=attempt, ranks=ranks, started=started, ended=ended)


def _settled(known: Record, task: TaskRecord) -> Record:
    if task.state not in record.ENDED:
        task = replace(task, exit=None, ended=None)
    return record.settled(replace(known, tasks=(task,)))
