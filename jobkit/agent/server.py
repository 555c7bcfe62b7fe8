"""The agent: one loop that starts the ranks of this host, moves their bytes, and ends them."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import shutil
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from jobkit.agent import ranks, room, wire
from jobkit.agent.events import Done, Event, Exited, Output, Problem, Started
from jobkit.agent.pipes import TAIL_BYTES, Inlet, Outlet, Source
from jobkit.agent.ranks import Rank
from jobkit.agent.request import Request
from jobkit.agent.sentinel import FINISHED, GONE_GRACE_S, GROUP
from jobkit.agent.setup import Setup
from jobkit.agent.verdict import first_failure
from jobkit.env import oom, record
from jobkit.env.mlx import failures
from jobkit.env.processes import POLL_S, Ending, become_subreaper, marks, members, reap, send
from jobkit.env.record import RankExit
from jobkit.errors import Exit

_CULPRIT_S = 2.0  # how long a rank that is named as the culprit may take to fail by itself
_GANG_TIMEOUT_S = 600.0
_GROUP_SIGNALS = ("INT", "TERM", "HUP", "QUIT", "TSTP", "STOP", "CONT")


@dataclass(frozen=True)
class Ends:
    """The agent's descriptors.

    Attributes:
        lease: From the launcher; its end is the launcher's.
        to_launcher: To the launcher.
        from_sentinel: Never written to; its end is the sentinel's.
        to_sentinel: To the sentinel.
    """

    lease: int
    to_launcher: int
    from_sentinel: int
    to_sentinel: int


def serve(request: Request, run_dir: Path, litter: Path, ends: Ends) -> None:
    """Carry out a request; returns when everything has ended and was reported.

    Args:
        request: What is asked.
        run_dir: The run folder.
        litter: Folder that the sentinel removes; the agent does where the sentinel is gone.
        ends: The agent's descriptors.
    """
    become_subreaper()
    Server(request, run_dir, litter, ends).run()


class Server:
    """The state of one attempt on this host, changed only from `run`'s loop."""

    def __init__(self, request: Request, run_dir: Path, litter: Path, ends: Ends) -> None:
        self.request, self.run_dir = request, run_dir
        self.folder = run_dir / f"attempt-{request.attempt}"
        self.host = os.uname().nodename
        self.ranks: dict[int, Rank] = {}
        self.exits: list[RankExit] = []
        self.problem: Problem | None = None
        self.terminated = False
        self.ending: Ending | None = None
        self.deadline: float | None = None  # of the gang, later of a named culprit
        self._ends, self._litter = ends, litter
        self._guarded = True
        self._outlet = Outlet(ends.to_launcher)
        self._decoder = wire.Decoder()
        self._setup: Setup | None = None
        self._statuses: dict[int, int] = {}
        self._stdin_taken = self._stdin_credited = 0
        self._loop = selectors.DefaultSelector()
        self._watched: dict[Any, int] = {}
        self._handed_out = False
        self._gang_timeout_s = _GANG_TIMEOUT_S
        self._look_at = 0.0
        self._suspended_s = 0.0
        self._silent_at = self._silence_from_now()
        self._term = False
        os.set_blocking(ends.lease, False)
        self._loop.register(ends.lease, selectors.EVENT_READ, self._from_launcher)
        self._loop.register(ends.from_sentinel, selectors.EVENT_READ, self._sentinel_gone)
        self._children = self._watch_children()
        self._oom_kills = oom.kills()

    # --- the loop

    def run(self) -> None:
        """Start, and go round until everything has ended and the launcher has it all."""
        self._begin()
        while not self._finished():
            exited: list[int] = []
            for key, _ in self._loop.select(self._patience()):
                if isinstance(key.data, int):
                    exited.append(key.data)
                else:
                    key.data()
            self._collect(exited)
            self._on_time()
            self._watch_pipes()
        self._finish()

    def _patience(self) -> float | None:
        if self.ending is not None:
            return POLL_S
        times = [at for at in (self.deadline, self._silent_at) if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _on_time(self) -> None:
        if self._term:
            self._term = False
            self._terminate(self.request.grace_s)
        if self._silent_at is not None and time.monotonic() >= self._silent_at:
            self._silent_at = None
            self._launcher_gone()
        if self.ending is None and self.deadline is not None and time.monotonic() >= self.deadline:
            self._deadline_passed()

    def _finished(self) -> bool:
        """Ended, and every byte of the ranks' output is on its way."""
        if self.ending is None or time.monotonic() < self._look_at:
            return False
        self._look_at = time.monotonic() + POLL_S
        if not self.ending.step():
            return False
        self._collect([])
        return self._drained()

    def _drained(self) -> bool:
        if self._outlet.full and not self._outlet.broken:
            return False
        return not any(self._pump(source) for rank in self.ranks.values() for source in rank.sources)

    def _finish(self) -> None:
        for rank in list(self.ranks.values()):
            if not rank.over:
                self._give_up(rank)
        first = first_failure(self.exits)
        status = Exit.CANCELLED if self.terminated else Exit.OK
        if self.problem is not None:
            first = next((e for e in self.exits if e.rank == self.problem.rank), None)
            status = self.problem.status
        elif first is not None:
            status = first.status
        self._tell(Done(first, status))
        os.set_blocking(self._outlet.fileno(), True)
        self._outlet.flush()
        self._to_sentinel(FINISHED)
        if not self._guarded:
            shutil.rmtree(self._litter, ignore_errors=True)

    def _to_sentinel(self, message: bytes) -> None:
        """Tell the sentinel; one that is gone is noticed by the loop."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._ends.to_sentinel, message)

    # --- start

    def _begin(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            environ = ranks.base_environ(self.request, self.run_dir)
            if not self.request.setup:
                self._start_ranks(environ)
                return
            self._setup = Setup(self.request.setup, environ, self.request.workdir, self.folder / "setup.log")
        except OSError as error:
            self._fail(Problem(Exit.NOT_STARTED, f"{self.host}: the ranks cannot be started ({error})"))
            return
        self._loop.register(self._setup, selectors.EVENT_READ, self._from_setup)

    def _from_setup(self) -> None:
        if self._setup is not None and not self._setup.read():
            self._loop.unregister(self._setup)

    def _setup_ended(self, setup: Setup, wait_status: int) -> None:
        setup.drain()
        if setup.fileno() in self._loop.get_map():
            self._loop.unregister(setup)
        self._setup = None
        status = os.waitstatus_to_exitcode(wait_status)
        environ = setup.environ()
        setup.close()
        if self.ending is not None:
            return
        if status or not environ:
            self._fail(Problem(Exit.NOT_STARTED, setup.failure(status, self.host)))
        else:
            self._start_ranks(environ)

    def _start_ranks(self, environ: dict[str, str]) -> None:
        request = self.request
        environ = {**environ, **request.overlay}
        if refusal := ranks.too_many(request, resource.getrlimit(resource.RLIMIT_NOFILE)[0]):
            self._fail(Problem(Exit.NOT_STARTED, f"{self.host}: {refusal}"))
            return
        try:
            for rank in request.numbers:
                self._add(ranks.start(request, rank, environ, self.run_dir, self.folder))
        except OSError as error:
            self._fail(
                Problem(Exit.NOT_STARTED, f"{self.host}: rank {rank} cannot be started ({error})", rank)
            )
            return
        if self._is_gang():
            self._gang_timeout_s = _seconds(environ.get("JOBKIT_GANG_TIMEOUT_S", ""), _GANG_TIMEOUT_S)
            self.deadline = time.monotonic() + self._gang_timeout_s

    def _is_gang(self) -> bool:
        """Say whether this host's ranks meet here; those of several hosts meet over TCP."""
        return 1 < self.request.size == self.request.local_size and self.request.backend != ("none",)

    def _add(self, rank: Rank) -> None:
        self.ranks[rank.rank] = rank
        self._to_sentinel(GROUP + str(rank.pid).encode() + b"\n")
        self._loop.register(rank.seat, selectors.EVENT_READ, lambda: self._from_shim(rank))
        if hasattr(os, "pidfd_open"):
            # Of ranks that end together the system reports these in the order of their ends.
            self._loop.register(os.pidfd_open(rank.pid), selectors.EVENT_READ, rank.rank)

    # --- the gang

    def _from_shim(self, rank: Rank) -> None:
        open_ = rank.seat.receive()
        if not open_:
            self._loop.unregister(rank.seat)
            rank.seat.close()
        if rank.seat.refusal is not None:
            self._refused(rank, *rank.seat.refusal)
        elif not open_ and rank.seat.starting:
            rank.running = True
            self._tell(Started(rank.rank, rank.pid))
        self._gather()

    def _refused(self, rank: Rank, status: int, message: str) -> None:
        if self.ending is None:
            self._fail(Problem(status, f"rank {rank.rank} on {self.host}: {message}", rank.rank))

    def _gather(self) -> None:
        seats = [rank.seat for rank in self.ranks.values()]
        if self._handed_out or self.ending or not self._is_gang() or not room.complete(seats):
            return
        self._handed_out, self.deadline = True, None
        disagreement = room.disagreement(seats)
        if disagreement:
            self._fail(Problem(Exit.NOT_STARTED, disagreement))
        else:
            room.hand_out(seats)

    def _deadline_passed(self) -> None:
        self.deadline = None
        if self._handed_out:
            self._end(self.request.grace_s)
            return
        missing = [str(r.rank) for r in self.ranks.values() if r.seat.report is None]
        who = f"rank{'s' if len(missing) > 1 else ''} {', '.join(missing)} on {self.host}"
        message = f"gang: {who} did not report within {self._gang_timeout_s:g} s"
        self._fail(Problem(Exit.NOT_STARTED, message))

    # --- the launcher and the sentinel

    def _from_launcher(self) -> None:
        try:
            data = os.read(self._ends.lease, 1 << 18)
        except BlockingIOError:
            return
        self._silent_at = self._silence_from_now() if data else None
        if not data:
            self._loop.unregister(self._ends.lease)
            self._launcher_gone()
        for kind, payload in self._decoder.feed(data):
            self._obey(kind, payload)

    def _obey(self, kind: bytes, payload: bytes) -> None:
        if kind == wire.STDIN:
            self._stdin(payload)
        elif kind == wire.STDIN_END:
            self._each_inlet(Inlet.end)
        elif kind == wire.SIGNAL:
            self._signal(payload.decode())
            if payload in (b"STOP", b"CONT") and self._silent_at is not None:
                self._suspended_s = self.request.suspend_s if payload == b"STOP" else 0.0
                self._silent_at = self._silence_from_now()
        elif kind == wire.TERMINATE:
            grace_s = json.loads(payload)
            self._terminate(self.request.grace_s if grace_s is None else float(grace_s))
        elif kind == wire.PING:
            self._outlet.send(wire.frame(wire.PONG))

    def _silence_from_now(self) -> float | None:
        """Return when a launcher that says nothing from now on counts as gone."""
        silence_s = self.request.silence_s
        return None if silence_s is None else time.monotonic() + silence_s + self._suspended_s

    def _launcher_gone(self) -> None:
        self._outlet.broken = True
        self._terminate(min(self.request.grace_s, GONE_GRACE_S))

    def _sentinel_gone(self) -> None:
        self._loop.unregister(self._ends.from_sentinel)
        self._guarded = False
        message = f"{self.host}: the sentinel of this job was killed"
        self._fail(Problem(Exit.NOT_STARTED, message), grace_s=min(self.request.grace_s, GONE_GRACE_S))

    def _signal(self, name: str) -> None:
        number = getattr(signal, f"SIG{name}")
        for rank in self.ranks.values():
            if rank.over:
                continue
            if rank.running and name not in _GROUP_SIGNALS:
                send(rank.pid, number)
            elif rank.running or name in ("STOP", "CONT"):
                send(-rank.pid, number)
            elif name in _GROUP_SIGNALS:
                send(rank.pid, signal.SIGTERM)

    def _terminate(self, grace_s: float) -> None:
        self.terminated = self.terminated or not self.exits_are_all()
        self._end(grace_s)

    def exits_are_all(self) -> bool:
        """Say whether every rank has ended."""
        return bool(self.ranks) and all(rank.over for rank in self.ranks.values())

    # --- standard input

    def _stdin(self, data: bytes) -> None:
        self._stdin_taken += len(data)
        self._each_inlet(lambda inlet: inlet.send(data))

    def _each_inlet(self, do: Callable[[Inlet], None]) -> None:
        for rank in self.ranks.values():
            if rank.inlet is not None and not rank.inlet.closed:
                do(rank.inlet)
        self._credit()

    def _credit(self) -> None:
        """Let the launcher send as much more as the slowest rank has read."""
        inlets = [r.inlet for r in self.ranks.values() if r.inlet is not None and not r.inlet.closed]
        read = min((inlet.consumed for inlet in inlets), default=self._stdin_taken)
        if read > self._stdin_credited:
            self._outlet.send(wire.frame(wire.CREDIT, str(read - self._stdin_credited).encode()))
            self._stdin_credited = read

    # --- output

    def _pump(self, source: Source) -> bool:
        """Pass on what a stream holds; False if there was nothing, or there is no room."""
        if source.closed or (self._outlet.full and not self._outlet.broken):
            return False
        data = source.read()
        if data:
            self._tell(Output(source.rank, source.stream, data))
        return bool(data)

    def _tell(self, event: Event) -> None:
        if not self._outlet.broken:
            self._outlet.send(wire.encode_event(event))
        if self._outlet.broken and not self.terminated:
            self._launcher_gone()

    def _watch_pipes(self) -> None:
        """Wait for exactly those pipes that something can be done with."""
        wanted: dict[Any, tuple[int, Callable[[], object]]] = {}
        if self._outlet.waiting:
            wanted[self._outlet] = (selectors.EVENT_WRITE, self._outlet.flush)
        for rank in self.ranks.values():
            if rank.inlet is not None and rank.inlet.waiting:
                wanted[rank.inlet] = (selectors.EVENT_WRITE, lambda inlet=rank.inlet: self._flush(inlet))  # type: ignore[misc]
            if not self._outlet.full:
                for source in rank.sources:
                    if not source.closed:
                        wanted[source] = (selectors.EVENT_READ, lambda source=source: self._pump(source))  # type: ignore[misc]
        self._rewatch(wanted)

    def _rewatch(self, wanted: dict[Any, tuple[int, Callable[[], object]]]) -> None:
        for pipe in [pipe for pipe in self._watched if pipe not in wanted]:
            # A closed descriptor's number may be another's by now; the selector finds it by the object.
            self._loop.unregister(pipe)
            del self._watched[pipe]
        for pipe, (events, act) in wanted.items():
            if pipe not in self._watched:
                self._loop.register(pipe, events, act)
                self._watched[pipe] = events

    def _flush(self, inlet: Inlet) -> None:
        inlet.flush()
        self._credit()

    # --- exits

    def _watch_children(self) -> socket.socket:
        """Wake the loop whenever a child ends; also adopted orphans, which must be collected."""
        ours, wake = socket.socketpair()
        for end in (ours, wake):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._note_term)
        # A scheduler may send these to every process of a step, and mean the ranks.
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._wake = wake
        self._loop.register(ours, selectors.EVENT_READ, lambda: ours.recv(4096))
        return ours

    def _note_term(self, _number: int, _frame: FrameType | None) -> None:
        """Leave it to the loop, which every signal wakes."""
        self._term = True

    def _collect(self, exited: list[int]) -> None:
        """Take note of the ranks that have ended, in the order of their ends."""
        self._statuses.update(reap())
        for key in [k for k in self._loop.get_map().values() if isinstance(k.data, int) and k.data in exited]:
            self._loop.unregister(key.fileobj)
            assert isinstance(key.fileobj, int)
            os.close(key.fileobj)
        if not hasattr(os, "pidfd_open") or self.ending is not None:
            exited += [
                r.rank for r in self.ranks.values() if r.pid in self._statuses and r.rank not in exited
            ]
        for number in exited:
            rank = self.ranks[number]
            if not rank.over and rank.pid in self._statuses:
                self._rank_ended(rank, self._statuses.pop(rank.pid))
        if self._setup is not None and self._setup.process.pid in self._statuses:
            self._setup.process.returncode = 0
            self._setup_ended(self._setup, self._statuses.pop(self._setup.process.pid))

    def _rank_ended(self, rank: Rank, wait_status: int) -> None:
        rank.over = True
        if rank.seat.fileno() >= 0:
            self._from_shim(rank)
        for source in rank.sources:
            while self._pump(source):
                pass
        ended = self._exit(rank, wait_status)
        self.exits.append(ended)
        self._record(ended)
        self._tell(Exited(ended))
        self._react(ended)

    def _exit(self, rank: Rank, wait_status: int) -> RankExit:
        code = os.waitstatus_to_exitcode(wait_status)
        status, name = (Exit.SIGNAL - code, record.signal_name(-code)) if code < 0 else (code, None)
        reason, ended_by_jobkit = "signal" if name else "exit", self.ending is not None
        if rank.seat.refusal is not None:
            # It refused by itself, even if it was ended before it could leave.
            status, name, reason = rank.seat.refusal[0], None, "not started"
            ended_by_jobkit = self.problem is None or self.problem.rank != rank.rank
        elif not rank.seat.starting:
            status, reason = status if ended_by_jobkit else Exit.NOT_STARTED, "not started"
        return RankExit(
            rank=rank.rank,
            host=self.host,
            status=status,
            signal=name,
            ended_by_jobkit=ended_by_jobkit,
            victim_of=record.read_victim(self.folder, rank.rank) if status else None,
            reason=reason,
            started=rank.began,
            ended=record.now(),
            order=len(self.exits),
            hint=self._hint(rank, status) if status and not ended_by_jobkit else "",
        )

    def _hint(self, rank: Rank, status: int) -> str:
        if status == Exit.SIGNAL + signal.SIGKILL and oom.kills() > self._oom_kills:
            return oom.HINT
        tails = [bytes(source.tail) for source in rank.sources if source.stream == 2]
        return failures.hint(tails[0] if tails else _tail(self.folder / f"rank-{rank.rank}.err"))

    def _record(self, ended: RankExit) -> None:
        try:
            record.write_exit(self.folder, ended)
        except OSError as error:
            self._tell(
                Problem(
                    0, f"{self.folder}: the record of rank {ended.rank} was not written ({error})", ended.rank
                )
            )

    def _react(self, ended: RankExit) -> None:
        if (
            self.ending is None
            and ended.reason == "not started"
            and self.ranks[ended.rank].seat.refusal is None
        ):
            self._fail(
                Problem(
                    Exit.NOT_STARTED, f"rank {ended.rank} on {self.host}: {_shim_died(ended)}", ended.rank
                )
            )
        elif self.exits_are_all():
            self._end(self.request.grace_s)
        elif ended.status and self.ending is None:
            self._failed(ended)

    def _failed(self, ended: RankExit) -> None:
        culprit = self.ranks.get(ended.victim_of) if ended.victim_of is not None else None
        if culprit is None or culprit.over:
            self._end(self.request.grace_s)
        elif self.deadline is None:
            self.deadline = time.monotonic() + _CULPRIT_S

    def _give_up(self, rank: Rank) -> None:
        """Report a rank that could not be killed."""
        rank.over = True
        self._tell(
            Problem(0, f"rank {rank.rank} on {self.host}: process {rank.pid} cannot be killed", rank.rank)
        )

    # --- the end

    def _fail(self, problem: Problem, grace_s: float | None = None) -> None:
        if self.ending is None and self.problem is None and first_failure(self.exits) is None:
            self.problem = problem
        self._tell(problem)
        self._end(self.request.grace_s if grace_s is None else grace_s)

    def _end(self, grace_s: float) -> None:
        if self.ending is not None:
            self.ending.hasten(grace_s)
            return
        groups = [rank.pid for rank in self.ranks.values()]
        ours = marks(self.request.job, str(self.run_dir), node=self.request.node)
        self.ending = Ending(lambda: members(ours, groups), grace_s)


def _seconds(text: str, default: float) -> float:
    """Return a number of seconds, the default for none; a setting that is no number is taken for none."""
    try:
        return float(text)
    except ValueError:
        return default


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return file.read()
    except OSError:
        return b""


def _shim_died(ended: RankExit) -> str:
    how = f" (killed by {ended.signal})" if ended.signal else ""
    return f"jobkit.env ended{how} before the program was started"
