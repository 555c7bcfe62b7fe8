"""A machine to log in to: this one, through a shell, with a folder of its own for what jobkit keeps."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobkit.remote import connection, mirror, session

LOGIN = "there"


class Shell:
    """What stands in for a connection: a command of a local shell."""

    login = LOGIN

    def __init__(self, command: str, home: Path, before: str) -> None:
        self.home, self.before = home, before
        self._next: Shell | None = None
        environ = {**os.environ, "JOBKIT_HOME": str(home)}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            ["sh", "-c", f"{before}{command}"], stdin=pipe, stdout=pipe, stderr=pipe, env=environ, cwd=home
        )
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.stdin, self.stdout, self.stderr = self.process.stdin, self.process.stdout, self.process.stderr
        self.read, self.readline = self.stdout.read, self.stdout.readline

    def write(self, data: bytes) -> None:
        self.stdin.write(data)
        self.stdin.flush()

    def status(self) -> int | None:
        status = self.process.wait()
        return None if status < 0 else status

    def last_words(self) -> str:
        return self.stderr.read().decode().strip().rpartition("\n")[2]

    def forget_words(self) -> None: ...

    def read_some(self, size: int) -> bytes:
        return self.stdout.read1(size)

    def end_input(self) -> None:
        self.stdin.close()

    def wait(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def another(self, command: str) -> Shell:
        self._next = Shell(command, self.home, self.before)
        return self._next

    def close(self) -> None:
        if self._next is not None:
            self._next.close()
        if self.stdout.closed:
            return
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        self.stdout.read()
        self.process.wait()
        self.stdout.close()
        self.stderr.close()


class Machine:
    """The other machine.

    Attributes:
        home: What jobkit keeps there.
        before: What its login shell does first.
        channels: The connections so far.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.before = ""
        self.channels: list[Shell] = []

    def start(self, _login: str, command: str, *_: str) -> Shell:
        self.channels.append(Shell(command, self.home, self.before))
        return self.channels[-1]

    def session(self, python: str = sys.executable) -> session.Session:
        return session.get(LOGIN, python)

    @property
    def python(self) -> str:
        return shlex.quote(sys.executable)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """The machine that every login leads to."""
    home = tmp_path / "home there"
    home.mkdir()
    found = Machine(home)
    monkeypatch.setattr(connection, "start", found.start)
    monkeypatch.setattr(session, "_open", {})
    monkeypatch.setattr(mirror, "_last", {})
    yield found
    for channel in found.channels:
        channel.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A working tree."""
    folder = tmp_path / "my tree"
    folder.mkdir()
    return folder
