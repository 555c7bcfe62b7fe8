"""What is true about a job of Slurm's: what its ranks have written comes first, then what Slurm says."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from jobkit.agent import verdict
from jobkit.env.record import RankExit
from jobkit.errors import Exit, SubmitError, complaint
from jobkit.jobs import clock, exits, folder, record, secret_file
from jobkit.jobs.record import JobExit, Record, TaskRecord
from jobkit.slurm import again, naming, queue, reasons
from jobkit.slurm.epilogue import BatchExit, batch_exit, rank_exits
from jobkit.slurm.naming import COMMENT
from jobkit.slurm.queue import Seen

_WAITING = {"PENDING": record.QUEUED, "CONFIGURING": record.STARTING}
_WAITING |= dict.fromkeys(("REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"), record.REQUEUED)
_RUNNING = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING", "STAGE_OUT")
_OUT_OF_MEMORY = "out of memory"
# How Slurm ended a job, whatever its ranks made of it.
_ENDED = {
    "TIMEOUT": (record.TIMEOUT, exits.TIME_LIMIT, "its time limit was reached"),
    "DEADLINE": (record.TIMEOUT, exits.TIME_LIMIT, "its deadline was reached"),
    "OUT_OF_MEMORY": (record.FAILED, JobExit(137, kind=_OUT_OF_MEMORY), "Slurm ended it: out of memory"),
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
_OF_KIND = {again.PREEMPTED: _ENDED["PREEMPTED"], again.NODE_FAILURE: _ENDED["NODE_FAIL"]}
# What the script's log says, where Slurm itself cannot be asked any more.
_IN_LOG = {again.CANCELLED: _ENDED["CANCELLED"], again.TIME_LIMIT: _ENDED["TIMEOUT"]}
_AGAIN = {
    again.PREEMPTED: "preempted",
    again.NODE_FAILURE: "one of its nodes failed",
    again.REQUEUED: "requeued in Slurm",
}
_GONE = "Slurm here does not know it (SLURM_CONF names the cluster), and no record tells how it ended"


@dataclass(frozen=True)
class _Left:
    """What a task has left in its folder by now.

    Attributes:
        task: Its record, with the ends of its ranks.
        folder: Where its attempts are.
        first: The rank that failed first, None without one.
        batch: How its script ended, None before that.
    """

    task: TaskRecord
    folder: Path
    first: RankExit | None
    batch: BatchExit | None

    @property
    def is_followed(self) -> bool:
        """Whether another attempt comes after the latest."""
        return self.batch is not None and self.batch.again

    @property
    def decides(self) -> bool:
        """Whether that says how it ended, for good.

        Where no rank failed by itself, only Slurm knows why srun did not succeed: a node, a limit, a user.
        """
        if self.batch is None or self.is_followed:
            return False
        by_itself = self.first is not None and self.first.victim_of is None
        is_told = self.batch.reason is not None or self.batch.kind in _OF_KIND or self.batch.out_of_memory
        return by_itself or self.batch.srun == 0 or is_told


def look(run_dir: Path, known: Record) -> Record:
    """Return what is known about a job that had not ended when its record was written.

    The ends of its tasks, and a number that was lost, are written down.
    """
    if known.scheduler_id is None and folder.is_held(run_dir):
        return known
    if known.scheduler_id is None:
        known = record.read(run_dir)  # the submitter may have written it between the two looks
        if known.state in record.ENDED:
            return known
    try:
        now = _seen(run_dir, known, os.environ)
    except SubmitError as error:
        known = _unasked(run_dir, known)
        return replace(known, reason=f"as last known, since Slurm cannot be asked: {error}")
    if now.scheduler_id != known.scheduler_id or any(_newly_ended(known, now)):
        _keep(run_dir, now)
    return now


def _newly_ended(known: Record, now: Record) -> Iterator[bool]:
    return (
        old.state not in record.ENDED and _is_certain(new)
        for old, new in zip(known.tasks, now.tasks, strict=True)
    )


def _is_certain(task: TaskRecord) -> bool:
    """Tell whether a task's end may be written down: another cluster's Slurm may have been asked."""
    return task.state in record.ENDED and not (task.exit and task.exit.kind == exits.LOST.kind)


def _keep(run_dir: Path, now: Record) -> None:
    """Write down what was found out, unless another process is at it."""
    try:
        lock = folder.hold(run_dir)
    except OSError:
        return
    try:
        before = record.read(run_dir)
        pairs = zip(before.tasks, now.tasks, strict=True)
        kept = record.settled(replace(now, tasks=tuple(_kept(old, new) for old, new in pairs)))
        ended = kept.state in record.ENDED
        if before.state not in record.ENDED:
            record.write(run_dir, kept, last=ended)
        if ended:
            secret_file.erase(run_dir)
    finally:
        os.close(lock)


def _kept(old: TaskRecord, new: TaskRecord) -> TaskRecord:
    uncertain = new.state in record.ENDED and not _is_certain(new)
    return old if old.state in record.ENDED or uncertain else new


def _seen(run_dir: Path, known: Record, environ: Mapping[str, str]) -> Record:
    left = [_left(run_dir, task) for task in known.tasks]
    if known.scheduler_id is None:
        known = replace(known, scheduler_id=number(known, run_dir, environ))
    if known.scheduler_id is None:
        why = f"its submission (process {known.origin.submitter.pid}) was killed before Slurm had it"
        tasks = [replace(one.task, state=record.LOST, reason=why, exit=exits.LOST) for one in left]
    elif all(one.task.state in record.ENDED or one.decides for one in left):
        tasks = [_as_left(one) for one in left]
    else:
        open_ = [one.task for one in left if one.task.state not in record.ENDED and not one.decides]
        numbers = [_scheduled(known, task) for task in open_]
        rows = queue.find(numbers, environ, since=_since(run_dir))
        has_array = len(rows) < len(numbers) and known.is_sweep and _has_array(known, environ)
        tasks = [_looked_up(one, known, rows, run_dir, has_array=has_array) for one in left]
    return record.settled(replace(known, tasks=tuple(map(_open_or_ended, tasks))))


def _unasked(run_dir: Path, known: Record) -> Record:
    """Return what the folders of the tasks say by themselves."""
    left = [_left(run_dir, task) for task in known.tasks]
    pairs = zip(known.tasks, left, strict=True)
    return record.settled(replace(known, tasks=tuple(_last_known(task, one) for task, one in pairs)))


def _last_known(task: TaskRecord, left: _Left) -> TaskRecord:
    if left.decides:
        return _as_left(left)
    begun = left.task.attempt and left.batch is None and task.state not in record.ENDED
    return replace(left.task, state=record.RUNNING) if begun else task


def _left(run_dir: Path, task: TaskRecord) -> _Left:
    task_dir = folder.task_folder(run_dir, task.point)
    if task.state in record.ENDED:
        return _Left(task, task_dir, None, None)
    attempt = folder.latest_attempt(task_dir)
    if attempt == 0:
        return _Left(task, task_dir, None, None)
    attempt_dir = folder.attempt(task_dir, attempt)
    found = rank_exits(attempt_dir)
    first = verdict.first_failure(found.values())
    return _Left(_with_ranks(task, attempt, found), task_dir, first, batch_exit(attempt_dir))


def _as_left(left: _Left) -> TaskRecord:
    return left.task if left.task.state in record.ENDED else _decided(left, None)


def _scheduled(known: Record, task: TaskRecord) -> str:
    own = record.scheduled(known, task)
    assert own is not None, "a job without a number is not looked up"
    return own


def _has_array(known: Record, environ: Mapping[str, str]) -> bool:
    """Tell whether Slurm knows of any point of a sweep."""
    rows = queue.every(environ).values()
    return any(seen.number.partition("_")[0] == known.scheduler_id and _ours(seen, known) for seen in rows)


def _looked_up(
    left: _Left, known: Record, rows: Mapping[str, Seen], run_dir: Path, *, has_array: bool
) -> TaskRecord:
    """Return a task as it is, given what Slurm says of the job's tasks.

    Of a point that is cancelled while it waits Slurm keeps nothing; it knows the other points still.
    """
    if left.task.state in record.ENDED or left.decides:
        return _as_left(left)
    own = _scheduled(known, left.task)
    seen = _ours(rows.get(own), known)
    over = seen is None or seen.state == "CANCELLED"
    cancelled = over and any((path / folder.CANCEL).exists() for path in {run_dir, left.folder})
    if seen is None and (has_array or cancelled) and left.task.point is not None and not left.task.attempt:
        seen = Seen(own, "CANCELLED", None, "", "")
    return _described(left, seen, own, cancelled)


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
    logs = (naming.log(folder.task_folder(run_dir, task.point)) for task in known.tasks)
    log = next((path for path in logs if path is not None), None)
    if log is not None:
        return naming.number_in(log)
    comment = COMMENT + known.id
    # What was asked before the submission ended does not tell whether it was taken.
    rows = queue.every(environ, after=time.time()).values()
    return next((seen.number.partition("_")[0] for seen in rows if seen.comment == comment), None)


def _since(run_dir: Path) -> float:
    """Return when the job's record was written last: its number was known from then on at the latest."""
    return (run_dir / record.RECORD).stat().st_mtime


def _described(left: _Left, seen: Seen | None, own: str, cancelled: bool) -> TaskRecord:
    """Return the task as Slurm sees it."""
    task = left.task
    if seen is None:
        if left.batch is not None and left.batch.kind in _IN_LOG:
            return _ended_as(task, *_IN_LOG[left.batch.kind], clock.normal(left.batch.ended))
        has_ended = left.first is not None or left.batch is not None or _all_ended_well(task)
        if has_ended and not left.is_followed:
            return _decided(left, None)
        return replace(task, state=record.LOST, reason=f"job {own}: {_GONE}", exit=exits.LOST)
    if seen.state in _WAITING and _waits_again(left, seen):
        why = _why_it_waits(seen)
        return replace(
            task, state=record.REQUEUED, reason=f"{_why_again(left)}; {why}" if left.batch else why
        )
    if seen.state in _WAITING:
        # An attempt whose folder is there begins just now.
        return replace(task, state=_WAITING[seen.state], reason=_why_it_waits(seen), attempt=0)
    if seen.state in _RUNNING and left.is_followed:
        return replace(task, state=record.REQUEUED, reason=_why_again(left))
    if seen.state in _RUNNING:
        reason = None if seen.state in ("RUNNING", "COMPLETING") else seen.state.lower()
        return replace(task, state=record.RUNNING, reason=reason, started=seen.start)
    left = replace(left, task=replace(task, started=task.started or seen.start))
    if seen.state in _ENDED:
        return _ended_by_slurm(left, seen, cancelled)
    task = _decided(left, seen)
    unexplained = task.reason is None and task.exit is not None and task.exit.rank is None
    if task.state == record.FAILED and unexplained:
        log = naming.log(left.folder)
        if log is None:
            return replace(task, state=record.LOST, reason=_unshared(left.folder), exit=exits.NOT_STARTED)
        by_signal = any(rank.ended_by_jobkit for rank in task.ranks)
        why = "its ranks were ended from outside" if by_signal else "no rank left a record of a failure"
        return replace(task, reason=f"{why}; see {log}")
    return task


def _waits_again(left: _Left, seen: Seen) -> bool:
    """Tell whether a job that waits has begun before.

    Slurm's answer may be from just before the first attempt; after another one it sets a time to start from.
    """
    attempt = left.task.attempt
    return left.batch is not None or attempt > 1 or (attempt == 1 and seen.reason == "BeginTime")


def _why_again(left: _Left) -> str:
    """Return what ended the latest attempt."""
    kind = left.batch.kind if left.batch else None
    if kind in _AGAIN:
        return _AGAIN[kind]
    return "failed" if left.first is None else exits.told(exits.of_rank(left.first))


def _unshared(task_dir: Path) -> str:
    """Return why a script that has ended left no log: its node could not write there."""
    expected = "a folder (run_dir, JOBKIT_HOME) on a file system that the nodes share, with room"
    return complaint(str(task_dir), "no node has written anything there", expected=expected)


def _why_it_waits(seen: Seen) -> str:
    """Return why a job waits, and when it may start.

    >>> _why_it_waits(queue.Seen("7", "PENDING", "2026-11-22T10:00:00.000000Z", "Resources", ""))
    'waiting for free nodes or cores (Resources), expected to start 2026-11-22T10:00:00Z'
    """
    why = reasons.told(seen.reason or seen.state)
    expected = f", expected to start {seen.start[:19]}Z" if seen.start and not reasons.is_held(why) else ""
    return why + expected


def _ended_by_slurm(left: _Left, seen: Seen, cancelled: bool) -> TaskRecord:
    task, first = left.task, left.first
    state, exit_, reason = _ENDED[seen.state]
    if seen.state == "CANCELLED" and cancelled:
        reason = "cancelled by its user"
    elif seen.reason.startswith("Dependency"):
        reason = "a job that it comes after did not succeed"
    if seen.state == "OUT_OF_MEMORY" and first is not None:
        exit_ = replace(exit_, rank=first.rank, host=first.host, signal=first.signal)
    return _ended_as(task, state, exit_, reason, task.ended or seen.end or clock.rfc3339(clock.now()))


def _ended_as(task: TaskRecord, state: str, exit_: JobExit, reason: str, ended: str) -> TaskRecord:
    return replace(task, state=state, exit=exit_, reason=reason, ended=ended, failed=ended)


def _decided(left: _Left, seen: Seen | None) -> TaskRecord:
    """Return the task with the end that its ranks' records give it, or its script's status without them."""
    task, first, batch = left.task, left.first, left.batch
    told = seen.end if seen else None
    ended = clock.normal(batch.ended) if batch else task.ended or told or clock.rfc3339(clock.now())
    task = replace(task, ended=ended, reason=None)
    if batch and batch.kind in _OF_KIND:
        state, exit_, reason = _OF_KIND[batch.kind]
        last = f" in attempt {task.attempt}, the last that retries allow" if task.attempt > 1 else ""
        return replace(task, state=state, exit=exit_, reason=reason + last, failed=ended)
    if first is not None:
        exit_ = exits.of_rank(first)
        if batch and batch.out_of_memory:
            exit_ = replace(exit_, kind=_OUT_OF_MEMORY)
        return replace(task, state=record.FAILED, exit=exit_, failed=clock.normal(first.ended))
    status = batch.status if batch else _status(seen)
    if status == 0:
        return replace(task, state=record.SUCCEEDED, exit=exits.SUCCESS)
    if batch and batch.reason is not None:
        exit_ = exits.unstarted(status, None, None)
        return replace(task, state=record.FAILED, exit=exit_, reason=batch.reason, failed=ended)
    exit_ = JobExit(status, kind=exits.kind(status, None))
    if batch and batch.rank is not None:
        exit_ = JobExit(status, batch.rank, batch.host, "SIGKILL", exits.kind(status, "SIGKILL"))
    if batch and batch.out_of_memory:
        exit_ = replace(exit_, kind=_OUT_OF_MEMORY)
    return replace(task, state=record.FAILED, exit=exit_, failed=ended)


def _status(seen: Seen | None) -> int:
    if seen is None or seen.state == "COMPLETED":
        return 0
    return seen.status or int(Exit.NOT_STARTED)


def _all_ended_well(task: TaskRecord) -> bool:
    return bool(task.ranks) and all(rank.status == 0 for rank in task.ranks)


def _with_ranks(task: TaskRecord, attempt: int, found: Mapping[int, RankExit]) -> TaskRecord:
    ranks = tuple(exits.with_exit(rank, found.get(rank.rank)) for rank in task.ranks)
    started = min((rank.started for rank in ranks if rank.started), default=task.started)
    ended = max((rank.ended for rank in ranks if rank.ended), default=None)
    return replace(task, attempt=attempt, ranks=ranks, started=started, ended=ended)


def _open_or_ended(task: TaskRecord) -> TaskRecord:
    """Return the task without an end, unless it has ended."""
    return task if task.state in record.ENDED else replace(task, exit=None, ended=None)
