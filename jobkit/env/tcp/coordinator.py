"""The coordinator: hears every rank's report, compares them, and gives everybody the table of all."""

from __future__ import annotations

import _socket
import os
import time

from jobkit import __version__
from jobkit.env.data import dataclass
from jobkit.env.gang import Report, Table, at, differences, from_json, to_json
from jobkit.env.tcp import wire
from jobkit.env.tcp.callers import Caller, Callers
from jobkit.env.tcp.rendezvous import LOOPBACK, Rendezvous
from jobkit.env.tcp.tokens import MUNGE, Token
from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from jobkit.env.tcp.munge import Munge

_DELIVERY_S = 60.0  # for the table to reach everybody
_SKEW_S = 2.0  # clocks that differ by more are reported
_QUIET_S = 30.0  # between two lines about who is missing
_POLL_S = 0.5


@dataclass(frozen=True)
class Hello:
    """What a caller said first; `nonces` stands for all of it, later with the answer's."""

    rank: int
    host: str
    pid: int
    nonces: bytes


class Coordinator:
    """The coordinator of one attempt, in the process of one of its ranks.

    Args:
        where: Of this rank.
        token: How ranks are known.
        say: Takes a line for the user.
        learns: Whether this host's address is the one at which the other hosts found it, rather than what
            its ranks think.

    Raises:
        LaunchError: No port is free.
    """

    def __init__(
        self, where: Rendezvous, token: Token, say: Callable[[str], None], *, learns: bool = True
    ) -> None:
        self.where, self.token, self.say, self._learns = where, token, say, learns
        self._found_at = ""
        listener, self.port = _listen(where)
        self._callers = Callers(listener, where.size, self._take, self._gone, say)
        self._munge: Munge | None = None
        self._hellos: dict[Caller, Hello] = {}
        self._reports: dict[int, Report] = {}
        self._by_rank: dict[int, Caller] = {}
        self._left: dict[int, str] = {}

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
        self._callers.close()

    def _wait(self, timeout_s: float) -> None:
        began = time.monotonic()
        next_line = began + _QUIET_S
        while len(self._reports) < self.where.size:
            now = time.monotonic()
            if now >= began + timeout_s:
                raise LaunchError(self._missing(f"did not come within {timeout_s:g} s"))
            if now >= next_line:
                next_line = now + _QUIET_S
                alone = len(self._reports) == self.where.size - 1
                self.say(f"{self._absent()} {'is' if alone else 'are'} still to come")
            self._callers.step(min(_POLL_S, began + timeout_s - now))

    # --- what callers say

    def _take(self, caller: Caller, code: bytes, payload: bytes) -> None:
        hello = self._hellos.get(caller)
        if hello is None:
            self._introduce(caller, payload)
        elif caller.rank is None:
            self._admit(caller, hello, code, payload)

    def _introduce(self, caller: Caller, payload: bytes) -> None:
        said, where = wire.decode(payload), self.where
        wanted = {"job": where.job, "attempt": where.attempt, "size": where.size, "kind": self.token.kind}
        for name, value in wanted.items():
            if said.get(name) != value:
                answer = {"other": name, "got": said.get(name), "expected": value}
                self._callers.put(caller, wire.frame(wire.encode(answer)))
                return
        hello = _hello(payload, said, where.size)
        mine = os.urandom(16).hex()
        challenge: dict[str, object] = {"nonce": mine}
        if self.token.kind == MUNGE:
            challenge["munge"] = self._credential()
        payload = wire.encode(challenge)
        code = wire.code(self.token.secret, wire.COORDINATOR, hello.nonces, payload)
        self._hellos[caller] = Hello(hello.rank, hello.host, hello.pid, hello.nonces + mine.encode())
        self._callers.put(caller, wire.frame(payload, code))

    def _credential(self) -> str:
        if self._munge is None:
            from jobkit.env.tcp.munge import Munge

            self._munge = Munge(self.token.where)
        return self._munge.encode(self.token.secret)

    def _admit(self, caller: Caller, hello: Hello, code: bytes, payload: bytes) -> None:
        if not wire.same(code, wire.code(self.token.secret, wire.RANK, hello.nonces, payload)):
            self._callers.drop(caller, f"it says that it is rank {hello.rank}, and has another token")
            return
        said = wire.decode(payload)
        try:
            report, clock = from_json(said["report"]), float(said["clock"])
        except (LookupError, TypeError, ValueError) as error:
            raise LaunchError(_other_version(hello, said)) from error
        if report.rank != hello.rank:
            raise wire.Garbage("another rank's report")
        other = self._by_rank.get(hello.rank)
        if other is not None or hello.rank == self.where.rank:
            before = None if other is None else self._hellos[other]
            self._send(caller, wire.encode({"refused": _twice(hello, before)}))
            return
        caller.rank = hello.rank
        if self._learns and report.node != self._reports[self.where.rank].node:
            self._found_at = str(caller.socket.getsockname()[0])
        self._left.pop(hello.rank, None)
        self._by_rank[hello.rank], self._reports[hello.rank] = caller, report
        skew = clock - time.time()
        if abs(skew) > _SKEW_S:
            ahead = "ahead of" if skew > 0 else "behind"
            self.say(f"the clock of {hello.host} is {abs(skew):.0f} s {ahead} that of {os.uname().nodename}")

    def _gone(self, caller: Caller) -> None:
        """A connection has ended; a rank that had reported is to come again."""
        hello = self._hellos.pop(caller, None)
        if caller.rank is not None and hello is not None:
            self._left[hello.rank] = hello.host
            self._reports.pop(hello.rank, None)
            self._by_rank.pop(hello.rank, None)

    # --- what they are told

    def _hand_out(self) -> Table:
        reports = self._in_order()
        salt = os.urandom(16).hex()
        self._tell_all(wire.encode({"reports": [to_json(report) for report in reports], "salt": salt}))
        return Table(reports, wire.secret(self.token.secret, self.where.job, self.where.attempt, salt))

    def _tell_all(self, payload: bytes) -> None:
        """Send one message to every rank; its bytes are held once, whatever their number."""
        until = time.monotonic() + _DELIVERY_S
        for caller in list(self._by_rank.values()):
            self._send(caller, payload)
        # They hang up first: who does keeps the port from being bound again for a minute (TIME_WAIT).
        while self._by_rank and time.monotonic() < until:
            self._callers.step(_POLL_S)

    def _send(self, caller: Caller, payload: bytes) -> None:
        code = wire.code(self.token.secret, wire.TABLE, self._hellos[caller].nonces, wire.digest(payload))
        self._callers.put(caller, len(payload).to_bytes(4, "big") + code, payload)

    def _in_order(self) -> tuple[Report, ...]:
        here = self._reports[self.where.rank].node
        reports = (self._reports[rank] for rank in sorted(self._reports))
        if not self._found_at:
            return tuple(reports)
        return tuple(at(report, self._found_at) if report.node == here else report for report in reports)

    # --- who is missing

    def _absent(self) -> str:
        ranks = [rank for rank in range(self.where.size) if rank not in self._reports]
        left = {rank: f"{rank} (of {host}; it came and went)" for rank, host in self._left.items()}
        shown = [left.get(rank, str(rank)) for rank in ranks[:16]]
        more = f", … ({len(ranks)} in all)" if len(ranks) > 16 else ""
        return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(shown)}{more} of {self.where.size}"

    def _missing(self, why: str) -> str:
        there = dict.fromkeys(report.host for report in self._in_order())
        hint = (
            f"ranks came from {', '.join(list(there)[:8])}; look at the others' output, and whether their "
            f"hosts reach port {self.port} of this one. JOBKIT_GANG_TIMEOUT_S waits longer"
        )
        return complaint("gang", f"{self._absent()} {why}", hint=hint)


def _hello(payload: bytes, said: dict[str, Any], size: int) -> Hello:
    rank, nonce, pid = said.get("rank"), said.get("nonce"), said.get("pid")
    if not (isinstance(rank, int) and 0 <= rank < size and isinstance(nonce, str) and len(nonce) == 32):
        raise wire.Garbage("no rank of this job")
    host = wire.printable(said.get("host", ""), 255)
    return Hello(rank, host, pid if isinstance(pid, int) else 0, wire.digest(payload))


def _twice(hello: Hello, before: Hello | None) -> str:
    other = "the coordinator itself" if before is None else f"process {before.pid} on {before.host}"
    this = f"process {hello.pid} on {hello.host}"
    wrong = f"two processes say that they are rank {hello.rank}: {other}, and {this}"
    return complaint("gang", wrong, hint="is another job using this JOBKIT_JOB or JOBKIT_COORDINATOR?")


def _other_version(hello: Hello, said: dict[str, Any]) -> str:
    report = said.get("report")
    theirs = report.get("jobkit") if isinstance(report, dict) else None
    wrong = f"rank {hello.rank} on {hello.host} has jobkit {theirs}, this rank {__version__}"
    return complaint("gang", wrong, hint="install the same everywhere")


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
            # Plainly, without SO_REUSEADDR: that would get in beside a port that another job has reserved.
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
