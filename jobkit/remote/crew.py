"""The agents of hosts that are reached over SSH; this machine, where it is among them, has one without."""

from __future__ import annotations

import json
import os
import queue
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jobkit.agent.crew import Crew, Member
from jobkit.agent.events import Event, Problem
from jobkit.agent.request import Request
from jobkit.env import names
from jobkit.env.addresses import is_global
from jobkit.env.scrub import scrub
from jobkit.errors import Exit, JobkitError
from jobkit.remote import here, host_keys
from jobkit.remote.carrier import SILENCE_S, Carrier
from jobkit.remote.reach import Reached, reach

AT_ONCE = 8  # connections that are being made; sshd drops some of many
_PYTHON = "python3"
_TOKEN_BYTES = 32
_SETTLE_S = 2.0  # for a signal to be on its way


@dataclass(frozen=True)
class Host:
    """Where some ranks go.

    Attributes:
        name: [USER@]HOST[:PORT], or a Host of the user's ssh_config.
        ranks: Which.
        is_here: Whether it is this machine.
    """

    name: str
    ranks: tuple[int, ...]
    is_here: bool


@dataclass(frozen=True)
class There:
    """What is asked of every host that is not this machine.

    Attributes:
        words: The program and its arguments.
        pythons: Interpreters for the agent, the first that is there.
        workdir: Where the program starts.
        is_asked_for: Whether it must: otherwise a folder that is not there means the login's own.
        finds_python: Whether a Python file that cannot be run as it stands is given to the interpreter.
        host_keys: Which host keys are believed: one of `jobkit.remote.host_keys.KINDS`.
    """

    words: tuple[str, ...]
    pythons: tuple[str, ...]
    workdir: str
    is_asked_for: bool
    finds_python: bool
    host_keys: str = host_keys.STRICT


def pythons(named: str | None) -> tuple[str, ...]:
    """Return the interpreters to try on a host: the one that is named, or this one's path and python3."""
    return (named,) if named else (sys.executable, _PYTHON)


class SshCrew(Crew):
    """The agents of hosts that are reached over SSH."""

    def __init__(self, request: Request, hosts: Sequence[Host], there: There) -> None:
        """Prepare for hosts; entering the context connects.

        Args:
            request: The job's; its ranks, and their addresses, are those of all hosts.
            hosts: In the order of their first ranks.
            there: What is different on other machines.
        """
        super().__init__(request, [(host.name, host.ranks) for host in hosts])
        self._hosts, self._there = tuple(hosts), there
        self._waiting = {node for node, host in enumerate(hosts) if not host.is_here}
        self._reached: dict[int, Reached] = {}
        self._errors: dict[int, str] = {}
        self._answers: queue.SimpleQueue[tuple[int, Reached | str]] = queue.SimpleQueue()
        self._turns = threading.Semaphore(AT_ONCE)
        self._is_closed = False
        self._carriers: list[Carrier] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def signal(self, name: str) -> None:
        """Send a signal to every rank; before there are any, one that would end them ends the job."""
        if self._waiting and name in ("INT", "TERM"):
            self.terminate()
        super().signal(name)
        if name == "STOP":  # this process is about to stop, with all of its threads
            deadline = time.monotonic() + _SETTLE_S
            for carrier in self._carriers:
                carrier.settle(deadline)

    # --- connections

    def _bring(self) -> None:
        for node in self._waiting:
            threading.Thread(target=self._reach, args=(node,), daemon=True).start()

    def _reach(self, node: int) -> None:
        """Connect to a host, in a thread of its own."""
        answer: Reached | str
        with self._turns:
            if self._is_closed:
                return
            try:
                answer = self._connected(node)
            except JobkitError as error:
                answer = str(error)
        self._answers.put((node, answer))
        if self._is_closed:
            self._hang_up()
        else:
            self._nudge()

    def _connected(self, node: int) -> Reached:
        """Return the connection to a host, whose agent waits for its request.

        Raises:
            JobkitError: There can be none.
        """
        there = self._there
        return reach(
            self._hosts[node].name,
            there.pythons,
            there.workdir,
            is_asked_for=there.is_asked_for,
            words=there.words,
            keys=there.host_keys,
        )

    def _news(self) -> list[Event]:
        """Start the ranks of all hosts once all have answered; of none if one cannot have them."""
        while not self._answers.empty():
            node, answer = self._answers.get()
            self._waiting.discard(node)
            if isinstance(answer, str):
                self._errors[node] = answer
            else:
                self._reached[node] = answer
        if self._waiting or self._ending or self._carriers or self._processes:
            return []
        if self._errors:
            self._failed(Exit.NOT_STARTED)
            return [Problem(Exit.NOT_STARTED, self._errors[node]) for node in sorted(self._errors)]
        self._start_all()
        return []

    def _give_up(self) -> None:
        for member in self._members:
            if member.connection is None:
                self._let_go(member)

    def _kill(self) -> None:
        self._has_lost = True

    def _lost(self, members: list[Member], why: str) -> list[Event]:
        """Go on without hosts; one whose agent has failed has said why on standard error."""
        if len(members) == 1 and members[0].node in self._reached:
            words = self._reached[members[0].node].channel.last_words()
            why += f" ({words})" if words else ""
        return super()._lost(members, why)

    def _leave(self, deadline: float) -> None:
        self._is_closed = True
        self._hang_up()
        for carrier in self._carriers:
            carrier.leave(deadline)
        here.leave(self._processes, self._request.grace_s)

    def _hang_up(self) -> None:
        """Leave the hosts that wait for a request."""
        while not self._answers.empty():
            node, answer = self._answers.get()
            if isinstance(answer, Reached):
                self._reached[node] = answer
        if not self._carriers:
            for reached in list(self._reached.values()):
                reached.channel.close()

    # --- ranks

    def _start_all(self) -> None:
        meeting = {names.COORDINATOR: ",".join(self._coordinator())} if len(self._members) > 1 else {}
        asked = replace(
            self._request,
            jaccl_rows=self._jaccl_rows(),
            overlay={**meeting, **self._request.overlay},
            token=secrets.token_hex(_TOKEN_BYTES) if meeting else None,
        )
        for member in self._members:
            given = asked.addresses and tuple(asked.addresses[rank] for rank in member.ranks)
            own = replace(asked, addresses=given)
            if member.node in self._reached:
                self._start_there(member, own, self._reached[member.node])
            else:
                self._start_here(member, own)

    def _start_there(self, member: Member, asked: Request, reached: Reached) -> None:
        command = self._there.words
        if self._there.finds_python and reached.needs_python:
            command = (reached.python, *command)
        carrier = Carrier(reached.channel)
        self._carriers.append(carrier)
        carrier.start()
        own = replace(
            asked,
            command=command,
            python=reached.python,
            workdir=reached.workdir,
            environ=scrub(reached.environ),
            silence_s=SILENCE_S,
        )
        self._hire(member, carrier.near, own)

    def _start_here(self, member: Member, asked: Request) -> None:
        process, ours = here.start([asked.python, "-m", "jobkit.agent"])
        self._processes.append(process)
        self._hire(member, ours, asked)

    def _coordinator(self) -> list[str]:
        """Return where the ranks look for the first host: where SSH does, and the hostfile says.

        Addresses of a ring's cables are reached by neighbours alone.
        """
        if 0 in self._reached:
            first = self._reached[0]
            ways = [first.address if is_address(first.address) else first.host]
        else:
            seen = [reached.client for reached in self._reached.values() if is_address(reached.client)]
            ways = [seen[0] if seen else os.uname().nodename]
        given = [address for rank in self._request.addresses[:1] for address in rank]
        return list(dict.fromkeys([*ways, *given]))

    def _jaccl_rows(self) -> str | None:
        """Return the rows of JACCL's hostfile under the names that the hosts have for themselves."""
        if self._request.jaccl_rows is None:
            return None
        rows = json.loads(self._request.jaccl_rows)
        for member in self._members:
            reached = self._reached.get(member.node)
            for rank in member.ranks:
                rows[rank]["ssh"] = os.uname().nodename if reached is None else reached.host
        return json.dumps(rows)


def is_address(text: str) -> bool:
    """Say whether a text is an IPv4 address that means the same host everywhere.

    >>> [is_address(text) for text in ("10.0.0.1", "127.0.0.1", "::1", "node1", "")]
    [True, False, False, False, False]
    """
    try:
        socket.inet_pton(socket.AF_INET, text)
    except OSError:
        return False
    return is_global(text)
