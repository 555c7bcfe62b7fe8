"""The living ranks of one contender: start them, ask them, end them."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from jobkit.bench import commands
from jobkit.bench.contenders import Contender
from jobkit.bench.peers.worker import LIFELINE, SOCKET
from jobkit.bench.places import Place

Reply = dict[str, Any]

_POLL_S = 0.2  # between two looks at processes that have not said anything yet
_PATIENCE_S = 3.0  # for the other ranks to say what they have to, once one has failed
_LAST_LINES = 8


class CrewError(Exception):
    """A contender is of no use any more; the text says why."""


class NotServed(Exception):
    """The contender has no such operation, element type or form."""


class Rank:
    """The driver's end of one rank."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.pid = 0
        self.pidfd = -1
        self._buffer = b""

    def receive(self) -> list[Reply]:
        """Return the complete lines that have come.

        Raises:
            EOFError: The rank has ended.
        """
        with contextlib.suppress(ConnectionError):
            data = self.connection.recv(1 << 16)
            if data:
                *lines, self._buffer = (self._buffer + data).split(b"\n")
                return [json.loads(line) for line in lines]
        raise EOFError

    def send(self, command: Reply) -> None:
        """Tell the rank what to do; one that has ended is found out by its answer."""
        with contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(command).encode() + b"\n")

    def know(self, pid: int) -> None:
        """Take a handle of the process, so that no later one with the same id can be hit."""
        self.pid = pid
        with contextlib.suppress(AttributeError, OSError):  # not Linux, or it has ended already
            self.pidfd = os.pidfd_open(pid)

    def kill(self) -> None:
        """End the process and forget it."""
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            os.close(self.pidfd)
            self.pidfd = -1
        self.connection.close()


class Crew:
    """The ranks of one contender, or what is left of them.

    Attributes:
        contender: Whose they are.
        size: How many.
        failure: Why they are of no use any more; "" while they are.
        version: What the library calls itself.
    """

    def __init__(self, contender: Contender, size: int) -> None:
        self.contender = contender
        self.size = contender.size or size
        self.failure = ""
        self.version = contender.library
        self._ranks: list[Rank] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._folder = Path(tempfile.mkdtemp(prefix="jobkit-bench-"))
        self._stack = contextlib.ExitStack()
        self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    # --- their life

    def start(self, places: Sequence[Place], environ: Mapping[str, str], deadline_s: float) -> None:
        """Start the ranks and load their library.

        Raises:
            CrewError: They did not all come; they are gone then.
        """
        with self._failing():
            listener = self._stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(self._folder / SOCKET))
            listener.listen(self.size)
            self._hold_lifeline()
            self._launch(places, environ)
            self._gather(listener, time.monotonic() + deadline_s)
            self._ask([{"do": "load"}] * self.size, deadline_s)

    def init(self, deadline_s: float) -> list[Reply]:
        """Let the ranks form their group; returns the answers in rank order.

        Raises:
            CrewError: They could not; they are gone then.
        """
        with self._failing():
            replies = self._ask([{"do": "init"}] * self.size, deadline_s)
            found = sorted(reply["rank"] for reply in replies)
            if found != list(range(self.size)) or replies[0]["size"] != self.size:
                raise CrewError(f"its ranks say that they are {found} of {replies[0]['size']}")
            order = sorted(range(self.size), key=lambda i: int(replies[i]["rank"]))
            self._ranks = [self._ranks[i] for i in order]
            self.version = str(replies[0]["version"])
            return [replies[i] for i in order]

    def ask(self, command: Reply, deadline_s: float) -> list[Reply]:
        """Send a command to every rank and return their answers, in rank order.

        Raises:
            NotServed: They cannot do that, and are ready for something else.
            CrewError: One failed, ended, or did not answer in time; they are all gone then.
        """
        with self._failing():
            return self._ask([command] * self.size, deadline_s)

    def end(self) -> None:
        """End every process of the contender, kindly where it works."""
        for rank in self._ranks:
            rank.send({"do": "quit"})
        deadline = time.monotonic() + (0.0 if self.failure else _PATIENCE_S)
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        for rank in self._ranks:
            rank.kill()
        for process in self._processes:
            _end_group(process)
        self._ranks, self._processes = [], []
        self._stack.close()

    # --- how

    @contextlib.contextmanager
    def _failing(self) -> Any:
        try:
            yield
        except CrewError as error:
            self.failure = str(error)
            self.end()
            raise

    def _hold_lifeline(self) -> None:
        path = self._folder / LIFELINE
        os.mkfifo(path, 0o600)
        # Reading and writing, since nobody reads yet; kept by this process alone.
        self._stack.callback(os.close, os.open(path, os.O_RDWR | os.O_CLOEXEC))

    def _launch(self, places: Sequence[Place], environ: Mapping[str, str]) -> None:
        held = commands.hold(self.size)
        self._stack.callback(held.release)
        log = self._stack.enter_context((self._folder / "log").open("wb"))
        for start in commands.starts(self.contender, self.size, self._folder, held, places, environ):
            self._processes.append(_process(start, log))

    def _gather(self, listener: socket.socket, deadline: float) -> None:
        """Accept every rank and hear its first line."""
        listener.settimeout(_POLL_S)
        while len(self._ranks) < self.size:
            with contextlib.suppress(TimeoutError):
                self._ranks.append(Rank(listener.accept()[0]))
                continue
            ended = [p.returncode for p in self._processes if p.poll() is not None]
            if ended and (self.contender.mpiexec or len(ended) + len(self._ranks) > self.size):
                raise CrewError(self._explained(f"a process ended with status {ended[0]}"))
            if time.monotonic() > deadline:
                came = f"{len(self._ranks)} of {self.size} ranks"
                raise CrewError(self._explained(f"{came} came before the deadline"))
        for rank, hello in zip(self._ranks, self._hear(deadline), strict=True):
            rank.know(hello["pid"])

    def _ask(self, commands_: Sequence[Reply], deadline_s: float) -> list[Reply]:
        for rank, command in zip(self._ranks, commands_, strict=True):
            rank.send(command)
        replies = self._hear(time.monotonic() + deadline_s)
        unserved = [reply["unserved"] for reply in replies if "unserved" in reply]
        if len(unserved) == self.size:
            raise NotServed(unserved[0])
        if unserved:
            raise CrewError(f"only some of its ranks serve that: {unserved[0]}")
        return replies

    def _hear(self, deadline: float) -> list[Reply]:
        """Return one answer of each rank; once one has failed, the others have little time left."""
        replies: dict[Rank, Reply] = {}
        began = time.monotonic()
        with selectors.DefaultSelector() as waiting:
            for rank in self._ranks:
                waiting.register(rank.connection, selectors.EVENT_READ, rank)
            while len(replies) < len(self._ranks):
                for key, _ in waiting.select(max(0.0, deadline - time.monotonic())):
                    reply = self._one(key.data)
                    if reply is None:
                        continue
                    replies[key.data] = reply
                    waiting.unregister(key.fileobj)
                    if "error" in reply:
                        deadline = min(deadline, time.monotonic() + _PATIENCE_S)
                if time.monotonic() >= deadline and len(replies) < len(self._ranks):
                    break
        missing = [i for i, rank in enumerate(self._ranks) if rank not in replies]
        errors = [reply["error"] for reply in replies.values() if "error" in reply]
        if errors:
            raise CrewError(errors[0])
        if missing:
            waited = f"rank {missing[0]} did not answer within {time.monotonic() - began:.0f} s"
            raise CrewError(self._explained(waited))
        return [replies[rank] for rank in self._ranks]

    def _one(self, rank: Rank) -> Reply | None:
        try:
            lines = rank.receive()
        except EOFError:
            number = self._ranks.index(rank)
            raise CrewError(self._explained(f"rank {number} ended{self._how(rank)}")) from None
        return lines[0] if lines else None

    def _how(self, rank: Rank) -> str:
        for process in self._processes:
            if process.pid == rank.pid:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return f" (status {process.wait(_PATIENCE_S)})"
        return ""

    def _explained(self, what: str) -> str:
        """Return what happened, with the last lines that the ranks have written."""
        text = (self._folder / "log").read_text(errors="replace").strip()
        lines = [f"  {line}" for line in text.splitlines()[-_LAST_LINES:]]
        return "\n".join([what, *lines])


def _process(start: commands.Start, log: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            start.command,
            env=start.environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise CrewError(f"{start.command[0]}: {error.strerror}") from None


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process, and whoever else is left in the group that it leads."""
    if process.poll() is None:
        process.terminate()  # a launcher of MPI ends its ranks
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
