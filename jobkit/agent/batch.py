"""The agents of a batch job's hosts: a scheduler's own starters bring a relay to each, which calls back."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobkit.agent import introduction
from jobkit.agent.crew import Crew, Member
from jobkit.agent.events import Event
from jobkit.agent.relay import keep_alive
from jobkit.agent.request import Request
from jobkit.env.addresses import LOOPBACK, addresses
from jobkit.env.files import write_private
from jobkit.errors import LaunchError, complaint

_INTRODUCTION_S = 10.0  # for a caller to say who it is
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
class _Caller:
    """A connection whose other end has not shown who it is."""

    connection: socket.socket
    nonce: str
    since: float
    text: bytes = b""


class BatchCrew(Crew):
    """The agents of a batch job's hosts."""

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
        ends = list(itertools.accumulate(n for _, n in hosts))
        super().__init__(
            request, [(name, range(end - n, end)) for (name, n), end in zip(hosts, ends, strict=True)]
        )
        self._starters, self._environ = starters, dict(environ)
        self._callers: list[_Caller] = []
        self._secret = secrets.token_hex(32)
        self._server = socket.create_server(("", 0))
        self._server.setblocking(False)
        self._loop.register(self._server, selectors.EVENT_READ, self._admit)
        self._file = Path(str(request.run_dir), f"launch-{secrets.token_hex(4)}.json")
        self._processes: list[subprocess.Popen[bytes]] = []

    # --- starters

    def _bring(self) -> None:
        """Start the relays.

        Raises:
            LaunchError: The file cannot be written that tells them where to call, or a starter not be run.
        """
        about = {"addresses": _addresses(), "port": self._server.getsockname()[1], "secret": self._secret}
        write_private(str(self._file), json.dumps(about))
        for starter in self._starters:
            self._processes.append(self._run(starter))

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

    def _wait_for(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._nudge()

    def _news(self) -> list[Event]:
        events: list[Event] = []
        for starter, process in zip(self._starters, self._processes, strict=True):
            if process.poll() is not None:
                left = [self._members[node] for node in starter.nodes if not self._members[node].over]
                status = process.returncode
                how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                events += self._lost(left, f"{starter.words[0]} {how} before the ranks had")
        return events

    def _give_up(self) -> None:
        """End the starters of which nobody has called; a later caller will find nobody."""
        for starter, process in zip(self._starters, self._processes, strict=True):
            if all(self._members[node].connection is None for node in starter.nodes):
                process.terminate()

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()

    def _leave(self, deadline: float) -> None:
        self._server.close()
        for caller in self._callers:
            caller.connection.close()
        for process in self._processes:
            if self._has_lost:
                process.terminate()
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._file.unlink(missing_ok=True)

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
        self._take_on(member, caller.connection, f"{answer}\n".encode(), who["environ"])
        return []

    def _take_on(self, member: Member, connection: socket.socket, answer: bytes, own: dict[str, str]) -> None:
        connection.setblocking(True)
        keep_alive(connection)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE_MS)
        asked = replace(self._request, environ={**self._request.environ, **own})
        self._hire(member, connection, asked, answer)

    def _turn_away(self, caller: _Caller) -> None:
        self._loop.unregister(caller.connection)
        self._callers.remove(caller)
        caller.connection.close()


def _addresses() -> list[str]:
    """Return where this host can be called, for others and for itself."""
    return [*addresses(""), os.uname().nodename, *LOOPBACK]
