"""The keeper of a job: a process of its own that runs its tasks and writes its record.

Started as `python -m jobkit.jobs.keeper RUN_DIR` with the lock of the run folder as standard input and a
pipe as standard output, on which it writes one byte when it has taken the job over. It holds the lock until
it ends, so that everyone can see whether the job is kept. USR1 makes it look for requests (files named
`cancel`) at once; TERM makes it cancel the job.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jobkit.agent.client import Agent
from jobkit.agent.events import Done, Event, Exited, Lost, Problem, Started
from jobkit.agent.request import Request
from jobkit.env.record import RankExit
from jobkit.errors import Exit, JobkitError, SpecError
from jobkit.jobs import (
    clock,
    exits,
    find,
    folder,
    follow,
    orphans,
    plan_file,
    process,
    record,
    secret_file,
    truth,
)
from jobkit.jobs.attempt import Agents, Attempt, due, requested
from jobkit.jobs.record import (
    CANCELLED,
    ENDED,
    FAILED,
    LOST,
    QUEUED,
    REQUEUED,
    RUNNING,
    STARTING,
    SUCCEEDED,
    TIMEOUT,
    JobExit,
    Record,
    TaskRecord,
)
from jobkit.plan import Plan, Task

# How often requests and predecessors are looked at, and a full disk is tried again.
_TICK_S = 1.0
# When the signal is tried again for a program that does not run yet.
_RETRY_S = 0.1
# What an agent leaves its ranks between TERM and KILL.
_GRACE_S = 5.0
# An agent that does not answer this long after the grace is given up: its sentinel ends the ranks.
_PATIENCE_S = 10.0
# How long the end of a job is tried to be written to a full disk.
_LAST_WRITE_S = 60.0


class Keeper:
    """Runs the tasks of one job, as many at once as its plan says."""

    def __init__(
        self, run_dir: Path, plan: Plan, known: Record, environ: Mapping[str, str], secrets: Mapping[str, str]
    ) -> None:
        self.run_dir = run_dir
        self.plan = plan
        self.record = known
        self.environ = environ
        self.secrets = secrets
        self.waiting = deque(range(len(plan.tasks)))
        self.running: list[Attempt] = []
        self.selector = selectors.DefaultSelector()
        self.dirty = False
        self.terminated = False
        self.after = deque(plan.after)
        self.again: Counter[tuple[int, str]] = Counter()

    # --- the record ---

    def set_task(self, index: int, **changes: object) -> None:
        """Change what the record says about a task, and with it about the job."""
        tasks = list(self.record.tasks)
        tasks[index] = replace(tasks[index], **changes)  # type: ignore[arg-type]
        self.record = record.settled(replace(self.record, tasks=tuple(tasks)))
        self.dirty = True

    def save(self) -> None:
        """Write the record if it has changed; what does not fit on a full disk is written later."""
        if self.dirty and self.record.state not in ENDED:
            self.dirty = not record.write(self.run_dir, self.record)

    # --- the life of a job ---

    def keep(self) -> None:
        """Run the job to its end."""
        while self.waiting or self.running:
            self.look_for_requests()
            if self._may_start():
                while self.waiting and len(self.running) < self.plan.parallel:
                    self.start(self.waiting.popleft())
            self.save()
            if not (self.waiting or self.running):
                break
            for key, _ in self.selector.select(self._patience_s()):
                if key.data is None:
                    os.read(key.fd, 4096)  # a signal woke us
                else:
                    self.hear(key.data)
            self.watch_clocks()
        self.finish()

    def _may_start(self) -> bool:
        """Tell whether all jobs of `after` have succeeded; cancel when one of them will not."""
        while self.after:
            state, why = _state_of(self.after[0], self.environ)
            if state in ENDED and state != SUCCEEDED:
                self.cancel(f"{self.after[0]}, which it comes after, {why}")
            if state != SUCCEEDED:
                return False
            self.after.popleft()
        return True

    def _patience_s(self) -> float:
        """Return the seconds until something is due."""
        now = time.monotonic()
        times = [t for attempt in self.running for t in (attempt.limit, attempt.warn, attempt.given_up) if t]
        return max(0.0, min([_TICK_S, *(t - now for t in times)]))

    def finish(self) -> None:
        """Erase the secrets and write the end of the job."""
        secret_file.erase(self.run_dir)
        deadline = time.monotonic() + _LAST_WRITE_S
        while not record.write(self.run_dir, self.record, last=True):
            if time.monotonic() > deadline:
                raise OSError(errno.ENOSPC, "the end of the job could not be written", str(self.run_dir))
            time.sleep(_TICK_S)

    # --- attempts ---

    def start(self, index: int) -> None:
        """Start the next attempt of a task."""
        known = self.record.tasks[index]
        number = known.attempt + 1
        ranks = tuple(record.RankRecord(rank) for rank in range(self.plan.ranks))
        now = clock.rfc3339(clock.now())
        self.set_task(
            index, state=STARTING, reason=None, attempt=number, ranks=ranks, started=known.started or now
        )
        self.save()
        log_start = (self.run_dir / folder.LOG).stat().st_size
        try:
            agent = self.brought(self.plan.tasks[index], number)
        except (JobkitError, OSError) as error:
            self.end_task(index, FAILED, exits.NOT_STARTED, str(error))
            return
        begun = Attempt(index, agent, log_start, *due(self.plan, time.monotonic()))
        self.running.append(begun)
        self.selector.register(agent.fileno(), selectors.EVENT_READ, begun)
        self.set_task(index, agent=process.identify(agent.pid) if isinstance(agent, Agent) else None)

    def requested(self, task: Task, number: int) -> Request:
        """Return what is asked for an attempt of a task, as it would be of this machine."""
        return requested(self.plan, task, self.record.id, number, self.run_dir, self.environ, self.secrets)

    def brought(self, task: Task, number: int) -> Agents:
        """Start what runs an attempt of a task.

        Raises:
            JobkitError, OSError: It cannot be.
        """
        return Agent.start(self.requested(task, number), python=self.plan.python)

    def host_of(self, _rank: int) -> str:
        """Return the host that a rank runs on."""
        return socket.gethostname()

    def hear(self, attempt: Attempt) -> None:
        """Take note of what an agent reports."""
        for event in attempt.agent.receive():
            if attempt not in self.running:
                return
            self.note(attempt, event)

    def note(self, attempt: Attempt, event: Event) -> None:
        """Take note of one event."""
        if isinstance(event, Started):
            self._started(attempt, event)
        elif isinstance(event, Exited):
            self._exited(attempt, event.exit)
        elif isinstance(event, Problem):
            attempt.problem = attempt.problem or (event if event.status else None)
            log(event.message)
        elif isinstance(event, Done):
            self.conclude(attempt, event)
        elif isinstance(event, Lost):
            self._give_up(attempt)
            self._lost(attempt, event)

    def _lost(self, attempt: Attempt, event: Lost) -> None:
        """The agent is gone; its own last words, if there are any, are in the keeper's log."""
        if attempt.verdict is not None:
            self.conclude_as(attempt, attempt.verdict, _BY_STATE[attempt.verdict], attempt.reason)
            return
        words = follow.last_lines(self.run_dir / folder.LOG, 1, start=attempt.log_start)
        reason = ": ".join([event.message, *words])
        if any(rank.pid is not None for rank in self.record.tasks[attempt.task].ranks):
            self.conclude_as(attempt, LOST, exits.LOST, reason)
        else:
            self.conclude_as(attempt, FAILED, exits.NOT_STARTED, reason)

    def _started(self, attempt: Attempt, event: Started) -> None:
        known = self.record.tasks[attempt.task]
        here = {
            "host": self.host_of(event.rank),
            "pid": event.pid,
            "started": clock.rfc3339(clock.now()),
        }
        ranks = _with_rank(known, event.rank, here)
        running = all(rank.pid is not None for rank in ranks)
        self.set_task(attempt.task, ranks=ranks, state=RUNNING if running else known.state)

    def _exited(self, attempt: Attempt, exit_: RankExit) -> None:
        end = {
            "host": exit_.host,
            "status": exit_.status,
            "signal": exit_.signal,
            "ended_by_jobkit": exit_.ended_by_jobkit,
            "victim_of": exit_.victim_of,
            "started": clock.normal(exit_.started) if exit_.started else None,
            "ended": clock.normal(exit_.ended),
        }
        self.set_task(attempt.task, ranks=_with_rank(self.record.tasks[attempt.task], exit_.rank, end))

    def conclude(self, attempt: Attempt, done: Done) -> None:
        """Decide how an attempt ended, and whether there is another one."""
        if attempt.verdict is not None:
            self.conclude_as(attempt, attempt.verdict, _BY_STATE[attempt.verdict], attempt.reason)
        elif done.status == 0:
            self.conclude_as(attempt, SUCCEEDED, exits.SUCCESS, None)
        elif done.first is not None and done.first.reason != "not started":
            exit_ = exits.of_rank(done.first)
            told = "; ".join(filter(None, (exits.told(exit_), done.first.hint)))
            self._failed(attempt, exit_, told, clock.normal(done.first.ended))
        else:
            self._not_run(attempt, done)

    def _failed(self, attempt: Attempt, exit_: JobExit, told: str, when: str) -> None:
        """The program failed: start over where the plan allows it."""
        if not self.started_over(attempt, "failed", self.plan.retries.failed, told):
            self.conclude_as(attempt, FAILED, exit_, told, when)

    def started_over(self, attempt: Attempt, why: str, most: int, told: str) -> bool:
        """Let an attempt go and wait for another one, unless its task has had so many for this reason."""
        self.again[attempt.task, why] += 1
        if self.again[attempt.task, why] > most:
            return False
        number = self.record.tasks[attempt.task].attempt
        self._let_go(attempt)
        reason = f"attempt {number} {why}: {told}"
        self.set_task(attempt.task, state=REQUEUED, reason=reason, agent=None)
        self.waiting.appendleft(attempt.task)
        self.save()
        return True

    def _not_run(self, attempt: Attempt, done: Done) -> None:
        """The program could not be started, or was ended for a reason that lies in jobkit."""
        ranks = self.record.tasks[attempt.task].ranks
        reason = attempt.problem.message if attempt.problem else None
        if done.first is None and all(rank.pid is not None for rank in ranks):
            self.conclude_as(attempt, LOST, replace(exits.LOST, status=done.status), reason)
            return
        rank = done.first.rank if done.first else attempt.problem.rank if attempt.problem else None
        exit_ = exits.unstarted(done.status, rank, None if rank is None else self.host_of(rank))
        self.conclude_as(attempt, FAILED, exit_, reason)

    def conclude_as(
        self, attempt: Attempt, state: str, exit_: JobExit, reason: str | None, failed: str | None = None
    ) -> None:
        """Let an attempt go, and end its task."""
        self._let_go(attempt)
        self.end_task(attempt.task, state, exit_, reason, failed=failed)

    def _give_up(self, attempt: Attempt) -> None:
        """End what an agent that is gone, or hangs, has left."""
        orphans.end(folder.task_folder(self.run_dir, self.plan.tasks[attempt.task].point))

    def _let_go(self, attempt: Attempt) -> None:
        self.selector.unregister(attempt.agent.fileno())
        attempt.agent.close()
        self.running.remove(attempt)

    def end_task(
        self, index: int, state: str, exit_: JobExit, reason: str | None, failed: str | None = None
    ) -> None:
        """Write down the end of a task."""
        now = clock.rfc3339(clock.now())
        self.set_task(
            index, state=state, exit=exit_, reason=reason, ended=now, failed=failed or now, agent=None
        )

    # --- what ends a job early ---

    def watch_clocks(self) -> None:
        """Send the signal that is due, end what is over its time, and give up agents that do not answer."""
        now = time.monotonic()
        for attempt in list(self.running):
            if attempt.given_up is not None and now >= attempt.given_up:
                self._give_up(attempt)
                self.conclude(attempt, Done(None, int(Exit.NOT_STARTED)))
            elif attempt.limit is not None and now >= attempt.limit and attempt.verdict is None:
                limit = clock.duration(self.plan.time_s or 0)
                self.terminate(attempt, TIMEOUT, f"its time limit of {limit} was reached")
            elif attempt.warn is not None and now >= attempt.warn:
                self._warn(attempt)

    def _warn(self, attempt: Attempt) -> None:
        """Send the program its signal, once all of it runs: what starts it would die of it."""
        if self.record.tasks[attempt.task].state != RUNNING:
            attempt.warn = time.monotonic() + _RETRY_S
        elif self.plan.signal is not None:
            attempt.warn = None
            attempt.agent.signal(self.plan.signal.name)

    def terminate(self, attempt: Attempt, verdict: str, reason: str) -> None:
        """End an attempt's ranks, for a reason that becomes its task's."""
        if attempt.verdict is not None:
            return
        attempt.verdict, attempt.reason = verdict, reason
        attempt.limit = attempt.warn = None
        attempt.given_up = time.monotonic() + _GRACE_S + _PATIENCE_S
        attempt.agent.terminate()

    def look_for_requests(self) -> None:
        """Cancel what was asked to be cancelled."""
        if self.terminated:
            self.cancel("its keeper was told to end (SIGTERM)")
        elif (self.run_dir / folder.CANCEL).exists():
            self.cancel("cancelled by its user")
        for index, task in enumerate(self.plan.tasks):
            asked = task.point is not None and (self.run_dir / task.point / folder.CANCEL).exists()
            if asked and self.record.tasks[index].state not in ENDED:
                self.cancel_task(index, "cancelled by its user")

    def cancel(self, reason: str) -> None:
        """Cancel every task that has not ended."""
        for index in list(self.waiting):
            self.cancel_task(index, reason)
        for attempt in self.running:
            self.terminate(attempt, CANCELLED, reason)

    def cancel_task(self, index: int, reason: str) -> None:
        """Cancel one task."""
        if index in self.waiting:
            self.waiting.remove(index)
            self.end_task(index, CANCELLED, exits.CANCELLED, reason)
        for attempt in self.running:
            if attempt.task == index:
                self.terminate(attempt, CANCELLED, reason)

    # --- signals ---

    def listen(self) -> None:
        """Let signals wake the loop."""
        wakes, woken = os.pipe()
        os.set_blocking(wakes, False)
        os.set_blocking(woken, False)
        self.selector.register(wakes, selectors.EVENT_READ, None)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.signal(signal.SIGHUP, lambda *_: None)
        signal.signal(signal.SIGTERM, self._terminated)

    def _terminated(self, *_: object) -> None:
        self.terminated = True


_BY_STATE = {TIMEOUT: exits.TIME_LIMIT, CANCELLED: exits.CANCELLED, LOST: exits.LOST}


def _with_rank(task: TaskRecord, rank: int, changes: Mapping[str, object]) -> tuple[record.RankRecord, ...]:
    return tuple(
        replace(known, **changes) if known.rank == rank else known  # type: ignore[arg-type]
        for known in task.ranks
    )


def log(message: str) -> None:
    """Write to the keeper's log, its standard error; what a full disk refuses is lost."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)


def _state_of(job: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the state of a predecessor, and in words how it ended."""
    try:
        found = find.one(job, environ)
        known = truth.look(found.folder)
        known = record.narrowed(known, found.point) if found.point is not None else known
    except (SpecError, record.UnreadableError) as error:
        return LOST, f"cannot be found ({error})"
    return known.state, f"ended as {known.state}"


def take_over(run_dir: Path, environ: Mapping[str, str], kind: type[Keeper] = Keeper) -> Keeper:
    """Make the job of a run folder this process's, and write that down."""
    plan = plan_file.loads((run_dir / folder.PLAN).read_text())
    secrets = secret_file.read(run_dir) if plan.secrets else {}
    me = process.identify(os.getpid())
    known = replace(record.read(run_dir), keeper=me)
    keeper = kind(run_dir, plan, known, environ, secrets)
    keeper.listen()
    for index in range(len(plan.tasks)):
        keeper.set_task(index, state=QUEUED)
    keeper.save()
    return keeper


def _fail(keeper: Keeper, error: Exception) -> None:
    """Write down that the keeper itself failed; the ranks end with its agents."""
    for attempt in keeper.running:
        attempt.agent.close()
    reason = f"its keeper failed: {error!r}; see {keeper.run_dir / folder.LOG}"
    for index, task in enumerate(keeper.record.tasks):
        if task.state not in ENDED:
            keeper.end_task(index, LOST, exits.LOST, reason)
    keeper.finish()


def main(argv: list[str], kind: type[Keeper] = Keeper) -> int:
    """Keep the job of one run folder.

    Args:
        argv: The folder.
        kind: What keeps it.
    """
    if os.fork():
        return 0  # the submitter waits for this process; the job lives in the other
    os.setsid()
    # The lock must stay with this process alone, and standard input and output belong to nobody.
    os.dup(0)
    says_ready = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    keeper = take_over(Path(argv[0]), dict(os.environ), kind)
    # A submitter that was killed hears nothing; its job runs all the same.
    with contextlib.suppress(BrokenPipeError):
        os.write(says_ready, b"\n")
    os.close(says_ready)
    try:
        keeper.keep()
    except Exception as error:  # noqa: BLE001  written down, and the end of everything
        traceback.print_exc()
        _fail(keeper, error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
