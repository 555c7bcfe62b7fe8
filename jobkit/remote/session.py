"""Talk to the program that jobkit sends to another machine (there/), over one connection."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobkit.errors import Exit, SpecError, SubmitError, complaint
from jobkit.remote import connection, host_keys
from jobkit.remote.connection import Channel, LostError
from jobkit.remote.there import frames

PYTHON = "python3"
# No quote, backslash, exclamation mark or line end: every login shell hands it on as it is.
LOADER = "import sys;exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))"
_MODULES = ("frames", "home", "tree", "launch", "place", "jobs", "serve")
_PACKAGE = Path(__file__).parent.parent
# What is sent for a module of `there` that only points to another one.
_SOURCES = {"home": _PACKAGE / "env" / "home.py"}
OLDEST = ">= 3.10"
IN_SPEC = "in the spec: `python: /path/to/python`"
# It runs in whatever Python there is, to say so where it is too old.
_PROGRAM = """
import json, sys, types
if sys.version_info < (3, 10):
    sys.stdout.write("\\n%(marker)s\\n")
    text = json.dumps({"old": "%%d.%%d" %% sys.version_info[:2], "size": 0})
    sys.stdout.write(text + "\\n")
    sys.exit(0)
package = types.ModuleType("there")
package.__path__ = []
sys.modules["there"] = package
for name, source in json.loads(%(sources)r):
    module = types.ModuleType("there." + name)
    module.__package__ = "there"
    sys.modules[module.__name__] = module
    setattr(package, name, module)
    exec(compile(source, "there/" + name + ".py", "exec"), module.__dict__)
package.%(main)s("%(marker)s", *json.loads(%(arguments)r))
"""
# What a login shell may print before.
_NOISE_BYTES = 1 << 20
_UNQUOTABLE = "!\\'\n\r\0"


class Session:
    """A program on another machine that answers.

    Attributes:
        login: The machine.
        python: The interpreter it runs in.
        jobkit: The version of jobkit there, None where there is none.
        known: Ids of jobs that were asked about over this connection.
    """

    def __init__(
        self, login: str, *pythons: str, where: str = "slurm.login", keys: str = host_keys.STRICT
    ) -> None:
        """Start it.

        Args:
            login: The machine.
            *pythons: Interpreters, of which the first that is there is taken.
            where: The key of a spec that names the machine.
            keys: Which host keys are believed.

        Raises:
            LostError: The machine cannot be reached now.
            SubmitError: It cannot be used.
        """
        self.login = login
        self.known: set[str] = set()
        self._channel = connection.start(login, command(pythons[0]), where, keys)
        try:
            hello = self._hello(pythons)
        except BaseException:
            self.close()
            raise
        if "old" in hello:
            self.close()
            hint = f"name one in the spec: `python: /path/to/python` on {login}"
            wrong = "its Python is too old"
            raise SubmitError(complaint(login, wrong, got=hello["old"], expected=OLDEST, hint=hint))
        self.python: str = hello["python"]
        self.jobkit: str | None = hello["jobkit"]

    def _hello(self, pythons: Sequence[str]) -> dict[str, Any]:
        """Return what the program says of itself, in the first interpreter that starts."""
        for following in (*pythons[1:], None):
            marker = secrets.token_hex(16)
            try:
                self._write(program(marker, _MODULES, "serve.main"))
                skip_to(self._channel, marker)
                return self.read()[0]
            except LostError:
                raise
            except SubmitError:
                if following is None:
                    raise
                self._channel = self._channel.another(command(following))
        raise AssertionError("the last one returns or raises")

    def ask(self, head: dict[str, Any], body: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Ask, and return the answer.

        Raises:
            LostError: The connection broke; what was asked may have been done.
            SubmitError, SpecError: It cannot be done.
        """
        self.send(head, body)
        return self.read()

    def take(self, package: str) -> None:
        """Let the program there use the jobkit of a folder.

        Raises:
            SubmitError: There is none.
        """
        self.jobkit = self.ask({"ask": "take", "package": package})[0]["jobkit"]

    def send(self, head: dict[str, Any], body: bytes = b"") -> None:
        """Send a frame."""
        self._write(frames.packed(head, body))

    def _write(self, data: bytes) -> None:
        try:
            self._channel.write(data)
        except BrokenPipeError:
            raise ended(self._channel) from None

    def read(self) -> tuple[dict[str, Any], bytes]:
        """Return the next answer."""
        while True:
            try:
                head, body = frames.read(self._channel)
            except EOFError:
                raise ended(self._channel) from None
            except (ValueError, KeyError, TypeError) as error:
                raise SubmitError(complaint(self.login, f"answers what is no answer: {error}")) from error
            if "error" in head:
                kind = SpecError if head["status"] == Exit.USAGE else SubmitError
                raise kind(f"{self.login}: {head['error']}")
            if "alive" not in head:
                return head, body

    def close(self) -> None:
        """End it."""
        self._channel.close()


def command(python: str) -> str:
    """Return the one command that a login shell gets.

    Raises:
        SubmitError: The interpreter's path cannot be quoted for every shell.
    """
    if any(letter in python for letter in _UNQUOTABLE):
        expected = "a path without ! \\ ' and line ends"
        raise SubmitError(complaint("python", "not for every login shell", got=python, expected=expected))
    return f"{shlex.quote(python)} -c '{LOADER}'"


def program(marker: str, modules: Sequence[str], main: str, *arguments: object) -> bytes:
    """Return what the loader reads: a program of modules of `there`, which prints a marker and then answers.

    Args:
        marker: The line before its first word.
        modules: Each after those that it imports.
        main: The function that it calls, with the marker and these arguments.
        *arguments: Of JSON's types.
    """
    folder = _PACKAGE / "remote" / "there"
    sources = json.dumps([(name, _SOURCES.get(name, folder / f"{name}.py").read_text()) for name in modules])
    parts = {"marker": marker, "sources": sources, "main": main, "arguments": json.dumps(arguments)}
    text = (_PROGRAM % parts).encode()
    return b"%d\n" % len(text) + text


def skip_to(channel: Channel, marker: str, setting: str = IN_SPEC) -> None:
    """Read over what a login shell has printed.

    Args:
        channel: What the program runs in.
        marker: The line that it begins with.
        setting: How another interpreter is named.

    Raises:
        SubmitError: The marker does not come.
    """
    noise = 0
    while noise < _NOISE_BYTES:
        line = channel.readline(_NOISE_BYTES)
        if line == f"{marker}\n".encode():
            return
        if not line.endswith(b"\n"):
            raise ended(channel, setting)
        noise += len(line)
    raise SubmitError(complaint(channel.login, "its login shell prints without end"))


def ended(channel: Channel, setting: str = IN_SPEC) -> SubmitError:
    """Return what to say about a program that has gone.

    Args:
        channel: What it ran in.
        setting: How another interpreter is named.
    """
    status, words = channel.status(), channel.last_words()
    if status is None:
        return LostError(complaint(channel.login, "the connection broke"))
    if status == Exit.NOT_FOUND:
        hint = f"name an interpreter {setting} on {channel.login}"
        return SubmitError(complaint(channel.login, f"has no Python: {words}", hint=hint))
    return SubmitError(
        complaint(channel.login, f"jobkit's program there ended: {words or f'status {status}'}")
    )


_Key = tuple[str, str, str, str | None]
_open: dict[_Key, Session] = {}


def get(login: str, python: str, keys: str = host_keys.STRICT, package: str | None = None) -> Session:
    """Return the session of this process with a machine; it is opened at the first call.

    Args:
        login: The machine.
        python: The interpreter there.
        keys: Which host keys are believed.
        package: Folder of the jobkit that it takes there; None for the interpreter's own.
    """
    key = (login, python, keys, package)
    if key not in _open:
        _open[key] = Session(login, python, keys=keys)
        if package is not None:
            _open[key].take(package)
    return _open[key]


def drop(login: str, python: str, keys: str = host_keys.STRICT, package: str | None = None) -> None:
    """Close a session that broke, so that the next call opens a new one."""
    key = (login, python, keys, package)
    if key in _open:
        _open.pop(key).close()
