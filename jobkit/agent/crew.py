"""The agents of several hosts, as one: a scheduler's own starters bring a relay to each, which calls back."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

from jobkit.agent import introduction, wire
from jobkit.agent.events import Done, Event, Exited, Problem
from jobkit.agent.relay import keep_alive
from jobkit.agent.request import Request, encode
from jobkit.agent.verdict import first_failure
from jobkit.env.addresses import LOOPBACK, addresses
from jobkit.env.files import write_private
from jobkit.env.record import RankExit
from jobkit.errors import Exit, LaunchError, complaint

_READ_BYTES = 1 << 18
_INTRODUCTION_S = 10.0  # for a caller to say who it is
_CULPRIT_S = 2.0  # how long a rank that is named as the culprit may take to fail by itself
_BEYOND_GRACE_S = 10.0  # for hosts to end their ranks, before the starters are killed
_LEAVE_S = 15.0  # for starters to end once the hosts have
_LEAVE_LOST_S = 1.0  # for one that was told to, since a host will not
_SILENCE_MS = 8000  # of a host that was sent something


@dataclass(frozen=True)
class Starter:
    """A scheduler's command that starts another one on hosts of the job.

    Attributes:
        words: Put before the command.
        node: The host's number in the job, or the variable that says it to each of several.
        nodes: The hosts' numbers.
    """

    words: tuple[str, ...]
    node: str
    nodes: tuple[int, ...]


@dataclass
class _Member:
    """One host, and the connection to it once it has called."""

    name: str
    node: int
    first_rank: int
    ranks: int
    connection: socket.socket | None = None
    decoder: wire.Decoder = field(default_factory=wire.Decoder)
    room: int = wire.STDIN_WINDOW
    over: bool = False


@dataclass
class _Caller:
    """A connection whose other end has not shown who it is."""

    connection: socket.socket
    nonce: str
    since: float
    text: bytes = b""


class Crew:
    """The agents of a job's hosts, used as one `Agent` is: leaving the context, or dying, ends the job."""

    def __init__(
        self,
        request: Request,
        hosts: Sequence[tuple[str, int]],
        starters: Sequence[Starter],
        environ: Mapping[str, str],
    ) -> None:
        """Prepare for hosts; entering the context starts a relay on each.

        Args:
            request: The job's, with a run folder that the hosts share; its ranks are those of all hosts.
            hosts: Name and number of ranks of each.
            starters: Commands that reach all of them.
            environ: Of the starters.
        """
        self._request, self._starters, self._environ = request, starters, dict(environ)
        firsts = [sum(n for _, n in hosts[:i]) for i in range(len(hosts))]
        self._members = [
            _Member(name, node, first, n)
            for node, ((name, n), first) in enumerate(zip(hosts, firsts, strict=True))
        ]
        self._callers: list[_Caller] = []
        self._secret = secrets.token_hex(32)
        self._exits: list[RankExit] = []
        self._status: int | None = None
        self._terminated = self._ending = self._done = self._has_lost = False
        self._culprit_until = self._kill_at = 0.0
        self._loop = selectors.DefaultSelector()
        self._server = socket.create_server(("", 0))
        self._server.setblocking(False)
        self._loop.register(self._server, selectors.EVENT_READ, self._admit)
        self._ours, self._wake = socket.socketpair()
        self._loop.register(self._ours, selectors.EVENT_READ, self._woken)
        self._file = Path(str(request.run_dir), f"launch-{secrets.token_hex(4)}.json")
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Crew:
        """Start the relays.

        Raises:
            LaunchError: The file cannot be written that tells them where to call, or a starter not be run.
        """
        about = {"addresses": _addresses(), "port": self._server.getsockname()[1], "secret": self._secret}
        try:
            write_private(str(self._file), json.dumps(about))
            for starter in self._starters:
                self._processes.append(self._run(starter))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, starter: Starter) -> subprocess.Popen[bytes]:
        command = (self._request.python, "-m", "jobkit.agent.relay", str(self._file), starter.node)
        # In a session of its own, so that ^C comes from here alone, after the hosts were told.
        try:
            process = subprocess.Popen(
                [*starter.words, *command],
                cwd="/",
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=2,
                start_new_session=True,
            )
        except OSError as error:
            raise LaunchError(complaint(starter.words[0], f"cannot be started ({error.strerror})")) from error
        threading.Thread(target=self._wait_for, args=(process,), daemon=True).start()
        return process

    # --- what Agent has too

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something to receive."""
        return self._loop.fileno()

    @property
    def stdin_room(self) -> int:
        """How many bytes of input the slowest host takes now; none before all are there."""
        open_ = [member for member in self._members if not member.over]
        if any(member.connection is None for member in open_):
            return 0
        return min((member.room for member in open_), default=0)

    def receive(self) -> list[Event]:
        """Return the events that have come; the last is Done, and after it there is nothing."""
        if self._done:
            return []
        events: list[Event] = []
        for key, _ in self._loop.select(0):
            events += key.data()
        self._on_time(events)
        if all(member.over for member in self._members):
            self._done = True
            events.append(self._end_of_all())
        return events

    def send_stdin(self, data: bytes) -> None:
        """Give the ranks input; at most `stdin_room` bytes."""
        for member in self._members:
            member.room -= len(data)
        self._tell(wire.STDIN, data)

    def end_stdin(self) -> None:
        """Tell the ranks that their input ends here."""
        self._tell(wire.STDIN_END)

    def signal(self, name: str) -> None:
        """Send a signal, by its name without SIG, to every rank."""
        self._tell(wire.SIGNAL, name.encode())

    def terminate(self, grace_s: float | None = None) -> None:
        """End the job: TERM, then KILL after `grace_s` seconds (None: the request's)."""
        self._terminated = True
        self._end(grace_s)

    def close(self) -> None:
        """End the leases, and return when the starters have ended."""
        self._server.close()
        for member in self._members:
            self._let_go(member)
        for caller in self._callers:
            caller.connection.close()
        deadline = time.monotonic() + (_LEAVE_LOST_S if self._has_lost else _LEAVE_S)
        for process in self._processes:
            if self._has_lost:
                process.terminate()
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._file.unlink(missing_ok=True)
        self._loop.close()
        for end in (self._ours, self._wake):
            end.close()

    # --- callers

    def _admit(self) -> list[Event]:
        try:
            connection, _ = self._server.accept()
        except OSError:
            return []  # it has gone again
        caller = _Caller(connection, introduction.nonce(), time.monotonic())
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.send(f"{caller.nonce}\n".encode())
        self._callers.append(caller)
        self._loop.register(connection, selectors.EVENT_READ, lambda: self._introduced(caller))
        for old in [one for one in self._callers if one.since < caller.since - _INTRODUCTION_S]:
            self._turn_away(old)
        return []

    def _introduced(self, caller: _Caller) -> list[Event]:
        """Take a caller for the host that it shows to be; a stranger is let go."""
        try:
            data = caller.connection.recv(introduction.MOST)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        caller.text += data
        if data and b"\n" not in caller.text and len(caller.text) < introduction.MOST:
            return []
        known = introduction.heard(self._secret, caller.nonce, caller.text.decode(errors="replace"))
        member = None if known is None else self._members[known[0]["node"]]
        if known is None or member is None or member.connection is not None or member.over or self._ending:
            self._turn_away(caller)
            return []
        self._loop.unregister(caller.connection)
        self._callers.remove(caller)
        who, answer = known
        self._hire(member, caller.connection, f"{answer}\n".encode(), who["environ"])
        return []

    def _hire(self, member: _Member, connection: socket.socket, answer: bytes, own: dict[str, str]) -> None:
        connection.setblocking(True)
        keep_alive(connection)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE_MS)
        member.connection = connection
        self._loop.register(connection, selectors.EVENT_READ, lambda: self._hear(member))
        asked = replace(
            self._request,
            node=member.node,
            first_rank=member.first_rank,
            local_size=member.ranks,
            environ={**self._request.environ, **own},
        )
        self._send(member, answer + wire.frame(wire.REQUEST, encode(asked)))

    def _turn_away(self, caller: _Caller) -> None:
        self._loop.unregister(caller.connection)
        self._callers.remove(caller)
        caller.connection.close()

    # --- hosts

    def _hear(self, member: _Member) -> list[Event]:
        assert member.connection is not None
        try:
            data = member.connection.recv(_READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            return self._lost([member], "the connection to its agent is lost")
        passed: list[Event] = []
        for kind, payload in member.decoder.feed(data):
            if kind == wire.CREDIT:
                member.room += int(payload)
            event = wire.decode_event(kind, payload)
            if event is not None:
                passed += self._taken(member, event)
        return passed

    def _taken(self, member: _Member, event: Event) -> list[Event]:
        """Return what is to be passed on of an event: of all that went wrong the first."""
        if isinstance(event, Done):
            self._let_go(member)
            if event.status and event.first is None:  # somebody has ended the agent
                self._failed(event.status)
            return []
        if isinstance(event, Problem) and event.status:
            return [event] if self._failed(event.status) else []
        if isinstance(event, Exited):
            self._exits.append(event.exit)
            self._react(event.exit)
        return [event]

    def _react(self, ended: RankExit) -> None:
        """End the other hosts' ranks when one fails; a rank that it blames may fail by itself first."""
        if not ended.status or ended.ended_by_jobkit or self._ending:
            return
        if ended.victim_of is None or any(e.rank == ended.victim_of for e in self._exits):
            self._end()
        elif not self._culprit_until:
            self._culprit_until = self._later(_CULPRIT_S)

    def _failed(self, status: int) -> bool:
        """End the job with a status that no rank's exit gives; False where something else was first."""
        is_first = not self._ending and self._status is None and first_failure(self._exits) is None
        if is_first:
            self._status = status
        self._end()
        return is_first

    def _lost(self, members: list[_Member], why: str) -> list[Event]:
        """Go on without hosts: their ranks end with their leases."""
        names = ", ".join(member.name for member in members)
        for member in members:
            self._let_go(member)
            self._has_lost = True
        if not members or not self._failed(Exit.NOT_STARTED):
            return []
        return [Problem(Exit.NOT_STARTED, f"{names}: {why}")]

    def _let_go(self, member: _Member) -> None:
        member.over = True
        if member.connection is not None and member.connection.fileno() >= 0:
            with contextlib.suppress(KeyError):
                self._loop.unregister(member.connection)
            member.connection.close()

    def _tell(self, kind: bytes, payload: bytes = b"") -> None:
        for member in self._members:
            if member.connection is not None and not member.over:
                self._send(member, wire.frame(kind, payload))

    def _send(self, member: _Member, data: bytes) -> None:
        """A host that is gone is noticed by `receive`."""
        assert member.connection is not None
        with contextlib.suppress(OSError):
            member.connection.sendall(data)

    # --- starters, and time

    def _wait_for(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._nudge()

    def _nudge(self) -> None:
        with contextlib.suppress(OSError):
            self._wake.send(b".")

    def _later(self, seconds: float) -> float:
        """Return the time so many seconds from now, and see to it that it is noticed."""
        timer = threading.Timer(seconds + 0.01, self._nudge)
        timer.daemon = True
        timer.start()
        return time.monotonic() + seconds

    def _woken(self) -> list[Event]:
        self._ours.recv(_READ_BYTES)
        events: list[Event] = []
        for starter, process in zip(self._starters, self._processes, strict=True):
            if process.poll() is not None:
                left = [self._members[node] for node in starter.nodes if not self._members[node].over]
                status = process.returncode
                how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                events += self._lost(left, f"{starter.words[0]} {how} before the ranks had")
        return events

    def _on_time(self, events: list[Event]) -> None:
        now = time.monotonic()
        if self._culprit_until and now >= self._culprit_until:
            self._end()
        if self._kill_at and now >= self._kill_at:
            self._kill_at = 0.0
            for process in self._processes:
                process.kill()
            events += self._lost([m for m in self._members if not m.over], "its ranks did not end")

    def _end(self, grace_s: float | None = None) -> None:
        """Tell every host to end its ranks; one that has not called yet will find nobody."""
        if self._ending and grace_s is None:
            return
        self._tell(wire.TERMINATE, json.dumps(grace_s).encode())
        if self._ending:
            return
        self._ending = True
        wait_s = self._request.grace_s if grace_s is None else grace_s
        self._kill_at = self._later(wait_s + _BEYOND_GRACE_S)
        for starter, process in zip(self._starters, self._processes, strict=True):
            if all(self._members[node].connection is None for node in starter.nodes):
                process.terminate()

    def _end_of_all(self) -> Done:
        """Return the end of the job: of the exits of all hosts the first in time gives the status."""
        ordered = sorted(self._exits, key=lambda ended: ended.ended)
        ordered = [dataclasses.replace(ended, order=order) for order, ended in enumerate(ordered)]
        first = first_failure(ordered)
        if self._status is not None:
            return Done(None, self._status)
        if first is not None:
            return Done(first, first.status)
        return Done(None, Exit.CANCELLED if self._terminated else Exit.OK)


def _addresses() -> list[str]:
    """Return where this host can be called, for others and for itself."""
    return [*addresses(""), os.uname().nodename, *LOOPBACK]
