"""The agents of several hosts, as one; how each comes is its subclasses' business."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import json
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

from jobkit.agent import wire
from jobkit.agent.events import Done, Event, Exited, Problem
from jobkit.agent.request import Request, encode
from jobkit.agent.verdict import first_failure
from jobkit.env.record import RankExit
from jobkit.errors import Exit

READ_BYTES = 1 << 18
LEAVE_S = 15.0  # for what brought the agents to end once they have
LEAVE_LOST_S = 1.0  # for it when it was told to, since a host will not
_CULPRIT_S = 2.0  # how long a rank that is named as the culprit may take to fail by itself
_BEYOND_GRACE_S = 10.0  # for hosts to end their ranks, before what brought them is killed

Self = TypeVar("Self", bound="Crew")


@dataclass
class Member:
    """One host, and the connection to its agent once there is one."""

    name: str
    node: int
    ranks: tuple[int, ...]
    connection: socket.socket | None = None
    decoder: wire.Decoder = field(default_factory=wire.Decoder)
    room: int = wire.STDIN_WINDOW
    over: bool = False


class Crew(abc.ABC):
    """The agents of a job's hosts, used as one `Agent` is: leaving the context, or dying, ends the job."""

    def __init__(self, request: Request, hosts: Sequence[tuple[str, Sequence[int]]]) -> None:
        """Prepare for hosts; entering the context brings the agents.

        Args:
            request: The job's; its ranks are those of all hosts.
            hosts: Name and ranks of each.
        """
        self._request = request
        self._members = [Member(name, node, tuple(ranks)) for node, (name, ranks) in enumerate(hosts)]
        self._exits: list[RankExit] = []
        self._status: int | None = None
        self._terminated = self._ending = self._done = self._has_lost = False
        self._culprit_until = self._kill_at = 0.0
        self._loop = selectors.DefaultSelector()
        self._ours, self._wake = socket.socketpair()
        self._loop.register(self._ours, selectors.EVENT_READ, self._woken)

    def __enter__(self: Self) -> Self:
        """Bring the agents.

        Raises:
            LaunchError: They cannot be.
        """
        try:
            self._bring()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- what a subclass does

    @abc.abstractmethod
    def _bring(self) -> None:
        """Begin to bring the agents; `_nudge` announces news."""

    @abc.abstractmethod
    def _news(self) -> list[Event]:
        """Return what has become of bringing them: whoever came is given to `_hire`."""

    @abc.abstractmethod
    def _give_up(self) -> None:
        """Bring nobody who has not come yet: the job ends."""

    @abc.abstractmethod
    def _kill(self) -> None:
        """End at once what brought the agents."""

    @abc.abstractmethod
    def _leave(self, deadline: float) -> None:
        """Wait until that time for the end of what brought the agents, then end it."""

    @property
    def lost(self) -> bool:
        """Whether a host was lost."""
        return self._has_lost

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
        """End the leases, and return when what brought the agents has ended."""
        for member in self._members:
            self._let_go(member)
        self._leave(time.monotonic() + (LEAVE_LOST_S if self._has_lost else LEAVE_S))
        self._loop.close()
        for end in (self._ours, self._wake):
            end.close()

    # --- hosts

    def _hire(self, member: Member, connection: socket.socket, asked: Request, before: bytes = b"") -> None:
        """Ask an agent that has come; `before` is sent ahead of it."""
        member.connection = connection
        self._loop.register(connection, selectors.EVENT_READ, lambda: self._hear(member))
        ranks = member.ranks
        asked = dataclasses.replace(
            asked, node=member.node, first_rank=ranks[0], local_size=len(ranks), ranks=ranks
        )
        self._send(member, before + wire.frame(wire.REQUEST, encode(asked)))

    def _hear(self, member: Member) -> list[Event]:
        assert member.connection is not None
        try:
            data = member.connection.recv(READ_BYTES, socket.MSG_DONTWAIT)
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

    def _taken(self, member: Member, event: Event) -> list[Event]:
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

    def _lost(self, members: list[Member], why: str) -> list[Event]:
        """Go on without hosts: their ranks end with their leases."""
        names = ", ".join(member.name for member in members)
        for member in members:
            self._let_go(member)
            self._has_lost = True
        if not members or not self._failed(Exit.NOT_STARTED):
            return []
        return [Problem(Exit.NOT_STARTED, f"{names}: {why}")]

    def _let_go(self, member: Member) -> None:
        member.over = True
        if member.connection is not None and member.connection.fileno() >= 0:
            with contextlib.suppress(KeyError):
                self._loop.unregister(member.connection)
            member.connection.close()

    def _tell(self, kind: bytes, payload: bytes = b"") -> None:
        for member in self._members:
            if member.connection is not None and not member.over:
                self._send(member, wire.frame(kind, payload))

    def _send(self, member: Member, data: bytes) -> None:
        """A host that is gone is noticed by `receive`."""
        assert member.connection is not None
        with contextlib.suppress(OSError):
            member.connection.sendall(data)

    # --- time

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
        self._ours.recv(READ_BYTES)
        return self._news()

    def _on_time(self, events: list[Event]) -> None:
        now = time.monotonic()
        if self._culprit_until and now >= self._culprit_until:
            self._end()
        if self._kill_at and now >= self._kill_at:
            self._kill_at = 0.0
            self._kill()
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
        self._give_up()

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
