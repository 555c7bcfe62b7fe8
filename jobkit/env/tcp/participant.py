"""A rank that looks for the coordinator, reports to it and waits for the table."""

from __future__ import annotations

import _socket
import os
import time

from jobkit.env.gang import Report, Table, from_json, to_json
from jobkit.env.tcp import wire
from jobkit.env.tcp.rendezvous import Rendezvous
from jobkit.env.tcp.tokens import MUNGE, Token
from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_CONNECT_S = 3.0  # for a host to answer; behind a firewall none does
_ANSWER_S = 5.0  # for a listener to show that it is the coordinator
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.5  # between two rounds through the ports
_LONGEST_PAUSE_HERE_S = 0.03  # where a round costs nothing
_UNKNOWN_S = 15.0  # a coordinator of this job that has another token, and no other found
_QUIET_S = 30.0


class Elsewhere(Exception):
    """Who listens there is not this job's coordinator."""


class Silent(OSError):
    """No answer comes to the attempt to connect."""


class OtherToken(Elsewhere):
    """It says that it is this job's coordinator, and does not know its token."""


class Participant:
    """One rank's search for the coordinator.

    Args:
        where: Of this rank.
        token: How ranks are known.
        places: Returns the addresses and ports to try now, best first; what it returns may change.
        say: Takes a line for the user.
    """

    def __init__(
        self,
        where: Rendezvous,
        token: Token,
        places: Callable[[], list[tuple[str, int]]],
        say: Callable[[str], None],
    ) -> None:
        self.where, self.token, self.say = where, token, say
        self._places = places
        self._strangers: dict[tuple[str, int], str] = {}
        self._last = "nothing was tried"

    def meet(self, report: Report, timeout_s: float) -> Table:
        """Report and wait for the table.

        Raises:
            LaunchError: No coordinator was found in time, or it refused.
        """
        began = time.monotonic()
        pause, next_line, unknown_since = _FIRST_PAUSE_S, began + _QUIET_S, 0.0
        longest = _LONGEST_PAUSE_HERE_S if self.where.one_host else _LONGEST_PAUSE_S
        while True:
            table, has_other_token = self._round(report, began + timeout_s)
            if table is not None:
                return table
            now = time.monotonic()
            unknown_since = (unknown_since or now) if has_other_token else 0.0
            if has_other_token and now > unknown_since + _UNKNOWN_S:
                raise LaunchError(self._other_token())
            if now >= began + timeout_s:
                raise LaunchError(self._nobody(timeout_s))
            if now >= next_line:
                next_line = now + _QUIET_S
                self.say(f"rank {self.where.rank} still looks for rank 0's process: {self._last}")
            time.sleep(min(pause, max(0.0, began + timeout_s - now)))
            pause = min(longest, pause * 1.5)

    def _round(self, report: Report, deadline: float) -> tuple[Table | None, bool]:
        """Try every place once; also say whether a coordinator with another token was met."""
        has_other_token = False
        silent = ""
        for place in self._places():
            if place[0] == silent:
                continue  # so is every other port of it
            try:
                return self._try(place, report, deadline), False
            except OtherToken as error:
                has_other_token = True
                self._stranger(place, str(error))
            except (Elsewhere, wire.Garbage) as error:
                self._stranger(place, str(error))
            except OSError as error:
                silent = place[0] if isinstance(error, Silent) else ""
                self._last = f"{place[0]} port {place[1]}: {error.strerror or 'no answer'}"
        return None, has_other_token

    def _stranger(self, place: tuple[str, int], what: str) -> None:
        self._last = f"{place[0]} port {place[1]}: {what}"
        if self._strangers.get(place) != what:
            self._strangers[place] = what
            self.say(f"{self._last}; looking on")

    def _try(self, place: tuple[str, int], report: Report, deadline: float) -> Table:
        connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        try:
            connection.settimeout(min(_CONNECT_S, max(0.1, deadline - time.monotonic())))
            try:
                connection.connect(place)
            except TimeoutError as error:
                raise Silent(None, "no answer") from error
            if connection.getsockname() == connection.getpeername():
                raise OSError(None, "nobody listens")  # a connection to itself, from a port of the kernel's
            connection.settimeout(_ANSWER_S)
            return self._converse(connection, report, deadline)
        finally:
            connection.close()

    def _converse(self, connection: _socket.socket, report: Report, deadline: float) -> Table:
        inbox = wire.Inbox(wire.MOST)
        nonce = os.urandom(16).hex()
        w = self.where
        hello: dict[str, object] = {"job": w.job, "attempt": w.attempt, "size": w.size, "rank": w.rank}
        hello |= {"kind": self.token.kind, "host": report.host, "pid": os.getpid(), "nonce": nonce}
        first = wire.encode(hello)
        connection.sendall(wire.frame(first))
        code, payload = _receive(connection, inbox)
        challenge = wire.decode(payload)
        if "other" in challenge:
            self._of_another(challenge)
        secret = self._secret(challenge)
        if not wire.same(code, wire.code(secret, wire.COORDINATOR, wire.digest(first), payload)):
            raise OtherToken("it is of this job, and has another token")
        nonces = wire.digest(first) + str(challenge.get("nonce", "")).encode()
        payload = wire.encode({"report": to_json(report), "clock": str(time.time())})
        connection.sendall(wire.frame(payload, wire.code(secret, wire.RANK, nonces, payload)))
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
        connection.settimeout(max(0.1, deadline - time.monotonic()) + _ANSWER_S)
        inbox.most = wire.MOST * w.size
        code, payload = _receive(connection, inbox)
        if not wire.same(code, wire.code(secret, wire.TABLE, nonces, wire.digest(payload))):
            self._refused(wire.decode(payload))
            raise wire.Garbage("a table that it does not vouch for")
        said = wire.decode(payload)
        self._refused(said)
        reports = tuple(from_json(row) for row in said["reports"])
        return Table(reports, wire.secret(secret, w.job, w.attempt, said["salt"]))

    def _secret(self, challenge: dict[str, Any]) -> bytes:
        if self.token.kind != MUNGE:
            return self.token.secret
        from jobkit.env.tcp.munge import Munge, Refused

        try:
            return Munge(self.token.where).decode(str(challenge.get("munge", "")))
        except Refused as error:
            raise OtherToken(f"munge says of it: {error}") from error

    def _refused(self, said: dict[str, Any]) -> None:
        if "refused" in said:
            raise LaunchError(str(said["refused"]))

    def _of_another(self, challenge: dict[str, Any]) -> None:
        """Say what is different: `it is the coordinator of another job (slurm-7.0)`.

        Raises:
            LaunchError: A later attempt of this job is running.
            OtherToken: The coordinator's understanding of this very job is another.
            Elsewhere: It is another job's.
        """
        what, theirs = challenge.get("other"), challenge.get("expected")
        if what == "attempt" and isinstance(theirs, int) and theirs > self.where.attempt:
            wrong = (
                f"attempt {theirs} of {self.where.job} is running, and this is attempt {self.where.attempt}"
            )
            raise LaunchError(complaint("gang", wrong))
        kinds = {
            "job": "job",
            "attempt": "attempt",
            "size": "a job of size",
            "kind": "ranks known by",
        }
        text = f"it is the coordinator of {kinds.get(str(what), 'something else:')} {wire.printable(theirs)}"
        raise (OtherToken if what in ("size", "kind") else Elsewhere)(text)

    def _nobody(self, timeout_s: float) -> str:
        w = self.where
        hint = (
            "look at rank 0's output; can this host reach that one? JOBKIT_COORDINATOR=HOST:PORT names "
            "another address, JOBKIT_GANG_TIMEOUT_S waits longer"
        )
        where = ", ".join(w.hosts[:4]) or f"the host named in {w.file}"
        wrong = (
            f"rank {w.rank} of {w.size} found no coordinator on {where} within {timeout_s:g} s; "
            f"at last {self._last}"
        )
        return complaint("gang", wrong, hint=hint)

    def _other_token(self) -> str:
        hint = (
            "set JOBKIT_RUN_DIR or JOBKIT_HOME to a folder that all hosts share; if it is one, another user "
            "answers in this job's name"
        )
        return complaint(f"token {self.token.where}", f"is not the coordinator's: {self._last}", hint=hint)


def _receive(connection: _socket.socket, inbox: wire.Inbox) -> tuple[bytes, bytes]:
    while True:
        message = inbox.take()
        if message is not None:
            return message
        data = connection.recv(1 << 20)
        if not data:
            raise wire.Garbage("it hung up")
        inbox.put(data)
