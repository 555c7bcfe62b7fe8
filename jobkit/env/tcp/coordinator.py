"""The coordinator: hears every rank's report, compares them, and gives everybody the table of all.

One thread, one poll loop. What strangers can make it hold is bounded: connections, bytes of each, and time.
"""

from __future__ import annotations

import _socket
import errno
import os
import resource
import select
import time
from collections.abc import Callable

from jobkit import __version__
from jobkit.env.data import dataclass
from jobkit.env.gang import Report, Table, differences, from_json, to_json
from jobkit.env.tcp import wire
from jobkit.env.tcp.rendezvous import LOOPBACK, Rendezvous
from jobkit.env.tcp.tokens import MUNGE, Token
from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from jobkit.env.tcp.munge import Munge

_STRANGERS = 256  # connections beyond those of the ranks that are held at once
_INTRODUCTION_S = 10.0  # for a caller to say who it is
_DELIVERY_S = 60.0  # for the table to reach everybody
_SKEW_S = 2.0  # clocks that differ by more are reported
_QUIET_S = 30.0  # between two lines about who is missing
_POLL_S = 0.5
_TOLD = 16  # callers turned away of whom the user is told


@dataclass(frozen=True)
class Hello:
    """What a caller said first; `nonces` stands for all of it, later with the answer's."""

    rank: int
    host: str
    pid: int
    nonces: bytes


class Caller:
    """One connection."""

    def __init__(self, connection: _socket.socket, address: str) -> None:
        connection.setblocking(False)
        self.socket, self.address = connection, address
        self.inbox = wire.Inbox(wire.MOST)
        self.since = time.monotonic()
        self.hello: Hello | None = None
        self.is_known = False
        self.outgoing: list[memoryview] = []


class Coordinator:
    """The coordinator of one attempt, in the process of one of its ranks.

    Args:
        where: Of this rank.
        token: How ranks are known.
        say: Takes a line for the user.
    """

    def __init__(self, where: Rendezvous, token: Token, say: Callable[[str], None]) -> None:
        self.where, self.token, self.say = where, token, say
        self.listener, self.port = _listen(where)
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._files[1], self._files[1]))
        self._munge: Munge | None = None
        self._callers: dict[int, Caller] = {}
        self._reports: dict[int, Report] = {}
        self._by_rank: dict[int, Caller] = {}
        self._left: dict[int, str] = {}
        self._dropped = 0
        self._poll = select.poll()
        self._poll.register(self.listener.fileno(), select.POLLIN)

    def gather(self, report: Report, timeout_s: float) -> Table:
        """Wait for every rank, and give all of them the table.

        Args:
            report: This rank's own.
            timeout_s: Seconds until whoever is missing is given up.

        Raises:
            LaunchError: Somebody is missing, or the ranks do not fit together.
        """
        self._reports[self.where.rank] = report
        try:
            self._wait(timeout_s)
            wrong = differences(self._in_order())
            if wrong:
                raise LaunchError(wrong)
            return self._hand_out()
        except LaunchError as error:
            self._tell_all(wire.encode({"refused": str(error)}))
            raise
        finally:
            self.close()

    def close(self) -> None:
        """Hang up on everybody."""
        for caller in self._callers.values():
            caller.socket.close()
        self._callers.clear()
        self.listener.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, self._files)

    # --- waiting

    def _wait(self, timeout_s: float) -> None:
        began = time.monotonic()
        next_line = began + _QUIET_S
        while len(self._reports) < self.where.size:
            now = time.monotonic()
            if now >= began + timeout_s:
                raise LaunchError(self._missing(f"did not come within {timeout_s:g} s"))
            if now >= next_line:
                next_line = now + _QUIET_S
                self.say(f"{self._absent()} {'is' if self._count() == 1 else 'are'} still to come")
            self._step(min(_POLL_S, began + timeout_s - now))
            self._drop_the_silent()

    def _step(self, patience_s: float) -> None:
        for fd, event in self._poll.poll(max(0, int(patience_s * 1000))):
            if fd == self.listener.fileno():
                self._accept()
            elif fd in self._callers:
                self._hear(self._callers[fd], event)

    def _accept(self) -> None:
        try:
            fd, address = self.listener._accept()  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise LaunchError(_too_few_files(self.where.size)) from error
            return  # it has gone again
        connection = _socket.socket(fileno=fd)
        if len(self._callers) - len(self._by_rank) >= self.where.size + _STRANGERS:
            self._drop(min(self._unknown(), key=lambda caller: caller.since), "too many callers")
        caller = Caller(connection, str(address[0]))
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
        self._callers[fd] = caller
        self._poll.register(fd, select.POLLIN)

    def _unknown(self) -> list[Caller]:
        return [caller for caller in self._callers.values() if not caller.is_known]

    def _drop_the_silent(self) -> None:
        late = time.monotonic() - _INTRODUCTION_S
        for caller in self._unknown():
            if caller.since < late:
                self._drop(caller, "it did not say who it is")

    def _hear(self, caller: Caller, event: int) -> None:
        if event & select.POLLOUT:
            self._send(caller)
            return
        try:
            data = caller.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone(caller)
            return
        caller.inbox.put(data)
        try:
            while (message := caller.inbox.take()) is not None:
                self._take(caller, *message)
        except wire.Garbage as error:
            self._drop(caller, f"it sent {error}")

    def _gone(self, caller: Caller) -> None:
        """A connection has ended; a rank that had reported is to come again."""
        if caller.is_known and caller.hello is not None:
            rank = caller.hello.rank
            self._left[rank] = caller.hello.host
            self._reports.pop(rank, None)
            self._by_rank.pop(rank, None)
        self._forget(caller)

    def _drop(self, caller: Caller, why: str) -> None:
        self._dropped += 1
        if self._dropped <= _TOLD:
            more = "; of further ones nothing is said" if self._dropped == _TOLD else ""
            self.say(f"a caller from {caller.address} was turned away: {why}{more}")
        self._gone(caller)

    def _forget(self, caller: Caller) -> None:
        fd = caller.socket.fileno()
        if self._callers.pop(fd, None) is not None:
            self._poll.unregister(fd)
        caller.socket.close()

    # --- what callers say

    def _take(self, caller: Caller, code: bytes, payload: bytes) -> None:
        if caller.hello is None:
            self._introduce(caller, payload)
        elif not caller.is_known:
            self._admit(caller, caller.hello, code, payload)

    def _introduce(self, caller: Caller, payload: bytes) -> None:
        said = wire.decode(payload)
        wanted = {"job": self.where.job, "attempt": self.where.attempt, "size": self.where.size}
        for name, value in wanted.items():
            if said.get(name) != value:
                self._answer(caller, {"other": name, "got": said.get(name), "expected": value})
                return
        if said.get("kind") != self.token.kind:
            self._answer(caller, {"other": "kind", "got": said.get("kind"), "expected": self.token.kind})
            return
        hello = _hello(payload, said, self.where.size)
        mine = os.urandom(16).hex()
        challenge: dict[str, object] = {"nonce": mine}
        if self.token.kind == MUNGE:
            challenge["munge"] = self._credential()
        payload = wire.encode(challenge)
        code = wire.code(self.token.secret, wire.COORDINATOR, hello.nonces, payload)
        self._put(caller, wire.frame(payload, code))
        caller.hello = Hello(hello.rank, hello.host, hello.pid, hello.nonces + mine.encode())

    def _credential(self) -> str:
        if self._munge is None:
            from jobkit.env.tcp.munge import Munge

            self._munge = Munge(self.token.where)
        return self._munge.encode(self.token.secret)

    def _admit(self, caller: Caller, hello: Hello, code: bytes, payload: bytes) -> None:
        if not wire.same(code, wire.code(self.token.secret, wire.RANK, hello.nonces, payload)):
            self._drop(caller, f"it says that it is rank {hello.rank}, and has another token")
            return
        said = wire.decode(payload)
        try:
            report = from_json(said["report"])
            clock = float(said["clock"])
        except (LookupError, TypeError, ValueError) as error:
            raise LaunchError(_other_version(hello, said)) from error
        if report.rank != hello.rank:
            raise wire.Garbage("another rank's report")
        other = self._by_rank.get(hello.rank)
        if other is not None or hello.rank == self.where.rank:
            before = other.hello if other is not None else None
            self._answer(caller, {"refused": _twice(hello, before)})
            return
        caller.is_known = True
        self._left.pop(hello.rank, None)
        self._by_rank[hello.rank], self._reports[hello.rank] = caller, report
        skew = clock - time.time()
        if abs(skew) > _SKEW_S:
            ahead = "ahead of" if skew > 0 else "behind"
            self.say(f"the clock of {hello.host} is {abs(skew):.0f} s {ahead} that of {os.uname().nodename}")

    # --- what they are told

    def _answer(self, caller: Caller, message: dict[str, object]) -> None:
        """Tell a caller what stands against it, and hang up once it has read that."""
        self._put(caller, wire.frame(wire.encode(message)))
        caller.hello = caller.hello or Hello(-1, "", 0, b"")

    def _put(self, caller: Caller, data: bytes) -> None:
        caller.outgoing.append(memoryview(data))
        self._send(caller)

    def _send(self, caller: Caller) -> None:
        while caller.outgoing:
            part = caller.outgoing[0]
            try:
                n_bytes = caller.socket.send(part)
            except BlockingIOError:
                self._poll.modify(caller.socket.fileno(), select.POLLIN | select.POLLOUT)
                return
            except OSError:
                self._gone(caller)
                return
            if n_bytes == len(part):
                caller.outgoing.pop(0)
            else:
                caller.outgoing[0] = part[n_bytes:]
        self._poll.modify(caller.socket.fileno(), select.POLLIN)

    def _hand_out(self) -> Table:
        reports = self._in_order()
        salt = os.urandom(16).hex()
        self._tell_all(wire.encode({"reports": [to_json(report) for report in reports], "salt": salt}))
        return Table(reports, secret_of(self.token.secret, self.where, salt))

    def _tell_all(self, payload: bytes) -> None:
        """Send one message to every rank; its bytes are held once, whatever their number."""
        digest, until = wire.digest(payload), time.monotonic() + _DELIVERY_S
        head = len(payload).to_bytes(4, "big")
        for caller in list(self._by_rank.values()):
            assert caller.hello is not None
            code = wire.code(self.token.secret, wire.TABLE, caller.hello.nonces, digest)
            caller.outgoing += [memoryview(head + code), memoryview(payload)]
            self._send(caller)
        # They hang up first: who does keeps the port from being bound again for a minute (TIME_WAIT).
        while self._by_rank and time.monotonic() < until:
            self._step(_POLL_S)

    def _in_order(self) -> tuple[Report, ...]:
        return tuple(self._reports[rank] for rank in sorted(self._reports))

    # --- who is missing

    def _count(self) -> int:
        return self.where.size - len(self._reports)

    def _absent(self) -> str:
        ranks = [rank for rank in range(self.where.size) if rank not in self._reports]
        shown = [
            f"{r} (of {self._left[r]}; it came and went)" if r in self._left else str(r) for r in ranks[:16]
        ]
        more = f", … ({len(ranks)} in all)" if len(ranks) > 16 else ""
        return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(shown)}{more} of {self.where.size}"

    def _missing(self, why: str) -> str:
        there = dict.fromkeys(report.host for report in self._in_order())
        hint = (
            f"ranks came from {', '.join(list(there)[:8])}; look at the others' output, and whether their "
            f"hosts reach port {self.port} of this one. JOBKIT_GANG_TIMEOUT_S waits longer"
        )
        return complaint("gang", f"{self._absent()} {why}", hint=hint)


def secret_of(token: bytes, where: Rendezvous, salt: str) -> str:
    """Return the attempt's secret, the same on all ranks."""
    return wire.derive(token, f"{where.job}/{where.attempt}/{salt}")


def _hello(payload: bytes, said: dict[str, Any], size: int) -> Hello:
    rank, nonce, pid = said.get("rank"), said.get("nonce"), said.get("pid")
    if not (isinstance(rank, int) and 0 <= rank < size and isinstance(nonce, str) and len(nonce) == 32):
        raise wire.Garbage("no rank of this job")
    host = wire.printable(said.get("host", ""), 255)
    return Hello(rank, host, pid if isinstance(pid, int) else 0, wire.digest(payload))


def _twice(hello: Hello, before: Hello | None) -> str:
    other = "the coordinator itself" if before is None else f"process {before.pid} on {before.host}"
    wrong = (
        f"two processes say that they are rank {hello.rank}: {other}, and process {hello.pid} on {hello.host}"
    )
    hint = "is another job using this JOBKIT_JOB or JOBKIT_COORDINATOR?"
    return complaint("gang", wrong, hint=hint)


def _other_version(hello: Hello, said: dict[str, Any]) -> str:
    report = said.get("report")
    theirs = report.get("jobkit") if isinstance(report, dict) else None
    wrong = f"rank {hello.rank} on {hello.host} has jobkit {theirs}, this rank {__version__}"
    return complaint("gang", wrong, hint="install the same everywhere")


def _too_few_files(size: int) -> str:
    wrong = f"{size} ranks need more open files than are allowed"
    return complaint("gang", wrong, hint="ulimit -Hn allows more")


def _listen(where: Rendezvous) -> tuple[_socket.socket, int]:
    """Return a listener on the first free port of the sequence.

    Raises:
        LaunchError: None is free.
    """
    address = LOOPBACK if where.one_host else "0.0.0.0"
    refusal: OSError | None = None
    for port in where.ports:
        listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        try:
            # Plainly, without SO_REUSEADDR: nobody else may listen beside it.
            listener.bind((address, port))
            listener.listen(1024)
        except OSError as error:
            listener.close()
            refusal = error
            continue
        listener.setblocking(False)
        os.set_inheritable(listener.fileno(), False)
        return listener, port
    why = "" if refusal is None else f" ({refusal.strerror})"
    tried = f"{where.ports[0]}" if len(where.ports) == 1 else f"{where.ports[0]}-{where.ports[-1]}"
    hint = "give another range with network.ports or JOBKIT_PORTS"
    raise LaunchError(complaint("gang", f"every port {tried} for the coordinator is taken{why}", hint=hint))
