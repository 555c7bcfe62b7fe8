"""Start an agent, tell it what to do, and hear what happens. Used by `launch` and by the keeper of a job."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from types import TracebackType

from jobkit.agent import wire
from jobkit.agent.events import Done, Event, Lost
from jobkit.agent.request import Request, encode
from jobkit.errors import LaunchError, complaint

_READ_BYTES = 1 << 18
_LEAVE_S = 3.0  # beyond the graces of agent and sentinel, before an agent that does not end is killed


class Agent:
    """An agent of this host and the lease that it holds: leaving the context, or dying, ends the job."""

    def __init__(self, process: subprocess.Popen[bytes], request: Request) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process, self._request = process, request
        self._to, self._from = process.stdin, process.stdout
        self._decoder = wire.Decoder()
        self._ended = False
        self.stdin_room = wire.STDIN_WINDOW
        os.set_blocking(self._from.fileno(), False)

    @classmethod
    def start(cls, request: Request, python: str = sys.executable) -> Agent:
        """Start an agent with an interpreter that has jobkit.

        Raises:
            LaunchError: The interpreter cannot be started.
        """
        command = [python, "-m", "jobkit.agent"]
        try:
            process = subprocess.Popen(
                command,
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise LaunchError(complaint(python, f"the agent cannot be started ({error.strerror})")) from error
        agent = cls(process, request)
        agent._send(wire.REQUEST, encode(request))
        return agent

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something to receive."""
        return self._from.fileno()

    @property
    def pid(self) -> int:
        """The process started: the sentinel, whose child the agent is."""
        return self._process.pid

    def receive(self) -> list[Event]:
        """Return the events that have come; the last is Done, or Lost, and after it there is nothing."""
        try:
            data = self._from.read(_READ_BYTES)
        except BlockingIOError:
            return []
        if data is None or self._ended:
            return []
        if not data:
            return [self._end(Lost("the agent of this host is gone without a word"))]
        events: list[Event] = []
        for kind, payload in self._decoder.feed(data):
            if kind == wire.CREDIT:
                self.stdin_room += int(payload)
            event = wire.decode_event(kind, payload)
            if event is not None:
                events.append(self._end(event) if isinstance(event, Done) else event)
        return events

    def _end(self, event: Event) -> Event:
        self._ended = True
        return event

    def send_stdin(self, data: bytes) -> None:
        """Give the ranks input; at most `stdin_room` bytes, which grows as the slowest of them reads."""
        self.stdin_room -= len(data)
        self._send(wire.STDIN, data)

    def end_stdin(self) -> None:
        """Tell the ranks that their input ends here."""
        self._send(wire.STDIN_END)

    def signal(self, name: str) -> None:
        """Send a signal, by its name without SIG, to every rank.

        INT, TERM, HUP, QUIT, TSTP, STOP and CONT go to its process group, others to its program alone.
        """
        self._send(wire.SIGNAL, name.encode())

    def terminate(self, grace_s: float | None = None) -> None:
        """End the job: TERM, then KILL after `grace_s` seconds (None: the request's)."""
        self._send(wire.TERMINATE, json.dumps(grace_s).encode())

    def ping(self) -> None:
        """Show that this end is alive."""
        self._send(wire.PING)

    def _send(self, kind: bytes, payload: bytes = b"") -> None:
        """An agent that is gone is reported by `receive`, which the caller waits on anyway."""
        data = memoryview(wire.frame(kind, payload))
        try:
            while data:
                data = data[self._to.write(data) or 0 :]
        except (BrokenPipeError, ValueError):
            return

    def close(self) -> None:
        """End the lease, and return when agent and sentinel have ended everything."""
        if not self._to.closed:
            self._to.close()
        deadline = time.monotonic() + 2 * self._request.grace_s + _LEAVE_S
        while self._process.poll() is None and time.monotonic() < deadline:
            self._drain()
        if self._process.poll() is None:
            self._process.kill()
        self._from.close()
        self._process.wait()

    def _drain(self) -> None:
        """Let an agent that still has output to write come to its end."""
        readable, _, _ = select.select([self._from], [], [], 0.01)
        if readable and self._from.read(_READ_BYTES) == b"":
            time.sleep(0.002)

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
