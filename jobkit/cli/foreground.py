"""A job in the foreground: what its ranks write is shown, what is typed is theirs, ^C ends it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import FrameType

from jobkit.agent.client import Agent
from jobkit.agent.crew import Crew
from jobkit.agent.events import Done, Event, Exited, Lost, Output, Problem
from jobkit.agent.lines import Lines, prefixes
from jobkit.agent.request import Request
from jobkit.cli import talk
from jobkit.cli.live import Live
from jobkit.env.record import RankExit
from jobkit.errors import Exit

Agents = Agent | Crew
_QUEUE_BYTES = 1 << 20  # held for a slow terminal before the agent's output is left where it is
_PIECE_BYTES = select.PIPE_BUF  # what a pipe that is ready takes without waiting
_PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)  # they mean the programs: write a checkpoint, say what you do


class Foreground:
    """One launch, from its start to its exit status."""

    def __init__(
        self,
        request: Request,
        *,
        label: bool,
        table: bool,
        describe: Callable[[RankExit, int], str] | None = None,
        hosts: Sequence[str] = (),
    ) -> None:
        """Prepare.

        Args:
            request: The job's.
            label: Whether each line begins with its rank, on a pipe too.
            table: Whether to show a table of the ranks: live on a terminal, else at the end.
            hosts: Of each rank; () for all on this one.
            describe: Returns the message of a job that a rank's failure ended, given the number of ranks.
        """
        self._request, self._table = request, table
        self._describe = describe or of_rank
        self._live = Live(hosts or [os.uname().nodename] * request.size) if table and os.isatty(2) else None
        self._lines = Lines(_prefixes(request.size, label), one_screen=_one_screen())
        self._queues: dict[int, deque[bytes]] = {1: deque(), 2: deque()}
        self._queued = 0
        self._signals: deque[int] = deque()
        self._asked_to_end: int | None = None
        self._end_at: float | None = None
        self._exits: list[RankExit] = []
        self._done: Done | Lost | None = None
        self._stdin_open = request.stdin != "none"
        self._broken = False
        self._explained = False

    def run(self, start: Callable[[], Agents]) -> int:
        """Start the ranks and stay until all have ended; returns the exit status.

        Args:
            start: Starts the agent of this host, or those of several.
        """
        with _Signals(self._signals) as wake, self._live or contextlib.nullcontext(), start() as agent:
            while self._done is None or (self._queued and not self._broken):
                self._turn(agent, wake)
        self._summary()
        return self._status()

    # --- one turn of the loop

    def _turn(self, agent: Agents, wake: int) -> None:
        readable, writable = self._wait(agent, wake)
        if wake in readable:
            os.read(wake, 4096)
        while self._signals:
            self._on_signal(agent, self._signals.popleft())
        if self._end_at is not None and time.monotonic() >= self._end_at:
            self._end_at = None
            agent.terminate()
        if 0 in readable:
            self._read_stdin(agent)
        if agent.fileno() in readable:
            for event in agent.receive():
                self._hear(event)
        for stream, text in self._lines.due(time.monotonic()):
            self._queue(stream, text)
        if self._live is not None:
            self._live.on_time()
        for stream in writable:
            self._write(agent, stream)

    def _wait(self, agent: Agents, wake: int) -> tuple[list[int], list[int]]:
        reading = [wake]
        if self._done is None and self._queued < _QUEUE_BYTES:
            reading.append(agent.fileno())
        if self._stdin_open and self._done is None and agent.stdin_room > 0:
            reading.append(0)
        writing = [] if self._broken else [stream for stream, queue in self._queues.items() if queue]
        readable, writable, _ = select.select(reading, writing, [], self._patience())
        return readable, writable

    def _patience(self) -> float | None:
        drawing = None if self._live is None else self._live.due_at()
        times = [t for t in (self._lines.next_due(), self._end_at, drawing) if t is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    # --- what happens

    def _hear(self, event: Event) -> None:
        if self._live is not None:
            self._live.hear(event)
        if isinstance(event, Output):
            if self._live is not None and os.isatty(event.stream):
                return  # the table has the terminal
            self._queue(
                event.stream, self._lines.feed(event.rank, event.stream, event.data, time.monotonic())
            )
        elif isinstance(event, Exited):
            self._exits.append(event.exit)
        elif isinstance(event, Problem):
            self._explained = self._explained or bool(event.status)
            (talk.error if event.status else talk.warn)(event.message)
        elif isinstance(event, Done | Lost):
            self._done = event
            for stream, text in self._lines.rest(time.monotonic()):
                self._queue(stream, text)

    def _queue(self, stream: int, text: bytes) -> None:
        if text and not self._broken:
            self._queues[stream].append(text)
            self._queued += len(text)

    def _write(self, agent: Agents, stream: int) -> None:
        """Write as much as cannot make this process wait."""
        queue = self._queues[stream]
        text = queue.popleft()
        try:
            written = os.write(stream, text[:_PIECE_BYTES])
        except BrokenPipeError:
            self._reader_gone(agent)
            return
        self._queued -= written
        if text[written:]:
            queue.appendleft(text[written:])

    def _reader_gone(self, agent: Agents) -> None:
        """Nobody reads the output any more (`jobkit launch … | head`): the job ends, as a program would."""
        self._broken, self._queued = True, 0
        self._asked_to_end, self._explained = self._asked_to_end or signal.SIGPIPE, True
        agent.terminate()

    def _read_stdin(self, agent: Agents) -> None:
        try:
            data = os.read(0, min(agent.stdin_room, 1 << 16))
        except OSError:
            # Closed, or a terminal whose foreground is another job's.
            self._stdin_open = False
            return
        if data:
            agent.send_stdin(data)
        else:
            self._stdin_open = False
            agent.end_stdin()

    # --- signals

    def _on_signal(self, agent: Agents, number: int) -> None:
        if number == signal.SIGTSTP:
            self._suspend(agent)
        elif number in _PASSED_ON:
            agent.signal(signal.Signals(number).name.removeprefix("SIG"))
        elif self._asked_to_end is not None:
            agent.terminate(0.0)
        elif number == signal.SIGINT:
            self._asked_to_end, self._explained = number, True
            self._end_at = time.monotonic() + self._request.grace_s
            talk.say("jobkit: interrupting the ranks; ^C again kills them")
            agent.signal("INT")
        else:
            self._asked_to_end, self._explained = number, True
            agent.terminate()

    def _suspend(self, agent: Agents) -> None:
        talk.say("jobkit: the ranks are suspended with this launcher; fg continues them")
        agent.signal("STOP")
        os.kill(os.getpid(), signal.SIGSTOP)
        agent.signal("CONT")

    # --- the end

    def _status(self) -> int:
        if self._asked_to_end is not None:
            return int(Exit.SIGNAL + self._asked_to_end)
        return self._done.status if isinstance(self._done, Done) else int(Exit.NOT_STARTED)

    def _summary(self) -> None:
        if isinstance(self._done, Lost):
            talk.error(self._done.message)
        elif self._done is not None and self._done.first is not None and not self._explained:
            talk.error(self._describe(self._done.first, self._request.size))
        if self._live is not None:
            self._last_words(self._live)
        elif self._table:
            talk.say(table(self._exits))

    def _last_words(self, live: Live) -> None:
        """Show what the first to fail has written at last, of which the table has one line."""
        first = self._done.first if isinstance(self._done, Done) else None
        if first is not None:
            talk.say("\n".join(f"[{first.rank}] {line}" for line in live.tail(first.rank)))


def of_rank(first: RankExit, size: int) -> str:
    """Return the message of a job that a rank's failure ended."""
    how = f"was killed by {first.signal}" if first.signal else f"exited with status {first.status}"
    blamed = "" if first.victim_of is None else f" (its error names rank {first.victim_of})"
    others = "; the other ranks were ended" if size > 1 else ""
    hint = f"\n\nhint: {first.hint}" if first.hint else ""
    return f"rank {first.rank} of {size} on {first.host} {how}{blamed}{others}{hint}"


def table(exits: list[RankExit]) -> str:
    """Return a table of how each rank ended, in rank order."""
    head = ("rank", "host", "status", "signal", "seconds", "")
    rows = [head, *(_row(e) for e in sorted(exits, key=lambda e: e.rank))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(ended: RankExit) -> tuple[str, ...]:
    from datetime import datetime

    began, over = (datetime.fromisoformat(t.replace("Z", "+00:00")) for t in (ended.started, ended.ended))
    note = (
        "ended with the job"
        if ended.ended_by_jobkit
        else ""
        if ended.reason != "not started"
        else ended.reason
    )
    seconds = f"{(over - began).total_seconds():.2f}"
    return str(ended.rank), ended.host, str(ended.status), ended.signal or "", seconds, note


def _prefixes(size: int, label: bool) -> dict[int, dict[int, bytes]]:
    """On a terminal each line of several ranks begins with its rank; in a pipe only if asked."""
    shown = {}
    for stream in (1, 2):
        terminal = os.isatty(stream)
        if label or (terminal and size > 1):
            shown[stream] = prefixes(size, coloured=terminal and not os.environ.get("NO_COLOR"))
    return shown


def _one_screen() -> bool:
    return os.isatty(1) and os.isatty(2)


class _Signals:
    """Turns signals into entries of a queue, and wakes the loop."""

    _CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, *_PASSED_ON)

    def __init__(self, queue: deque[int]) -> None:
        self._queue = queue
        self._before: dict[int, object] = {}

    def __enter__(self) -> int:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in self._CAUGHT:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        self._before[signal.SIGTTIN] = signal.signal(signal.SIGTTIN, signal.SIG_IGN)
        return self._reader

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._queue.append(number)

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        for fd in (self._reader, self._writer):
            with contextlib.suppress(OSError):
                os.close(fd)
