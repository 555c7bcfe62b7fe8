"""Run one command after the other on a host, through one shell there."""

from __future__ import annotations

import secrets
import shlex
from dataclasses import dataclass
from typing import Protocol

from jobkit.errors import SubmitError, complaint
from jobkit.hosts.here import Process
from jobkit.remote import connection
from jobkit.remote.connection import LostError

COMMAND_S = 40  # less than a connection may be silent
_FLAG = "--hosts"
_MOST = 1 << 24  # bytes read of what a command prints
_LINE = 1 << 20
# Tools of administrators are not in everybody's path. A command that hangs is ended, with its process group,
# by coreutils or, where there are none (macOS), by Perl.
_SETUP = """
PERL='
  $s = shift;
  $p = fork // exit 126;
  if (!$p) { setpgrp(0, 0); exec { $ARGV[0] } @ARGV or exit 127 }
  $SIG{ALRM} = sub { kill "KILL", -$p; exit 124 };
  setpgrp($p, $p); alarm $s; waitpid $p, 0;
  exit($? & 127 ? 128 + ($? & 127) : $? >> 8)
'
LC_ALL=C; PARENT=$$; export LC_ALL PARENT; PATH="$PATH:/usr/sbin:/sbin"; exec 3>&1
limited() {
  if command -v timeout >/dev/null 2>&1; then timeout -k 5 "$@"
  elif command -v perl >/dev/null 2>&1; then perl -e "$PERL" "$@"
  else shift; "$@"; fi
}
"""
_RUN = """
words=$(limited %(seconds)d /bin/sh -c %(command)s </dev/null 2>&1 >&3); status=$?
printf '\\n%%s %%d %%s\\n' %(marker)s "$status" "$(printf '%%s' "$words" | tail -n 1)"
"""


@dataclass(frozen=True)
class Output:
    """What a command did.

    Attributes:
        status: 0 for success.
        text: Of its standard output.
        words: The last line of its standard error.
    """

    status: int
    text: str
    words: str

    @property
    def why(self) -> str:
        """Why it failed."""
        return self.words or f"status {self.status}"


class Pipes(Protocol):
    """A process whose input is written and whose output is read."""

    def write(self, data: bytes) -> None:
        """Write all of it."""

    def readline(self, size: int, /) -> bytes:
        """Return a line with its end; without it at the end, or when it is longer."""

    def close(self) -> None:
        """Let it see the end of its input."""


class Shell:
    """A POSIX shell on a host, whatever the login shell is.

    Attributes:
        host: Its name.
    """

    def __init__(self, host: str, pipes: Pipes) -> None:
        """Talk to a shell.

        Raises:
            LostError: The connection broke.
        """
        self.host = host
        self._pipes = pipes
        self._marker = secrets.token_hex(16)
        # The first marker is where output begins: a login shell may have printed before.
        self._write(f"{_SETUP}printf '\\n%s\\n' {self._marker}\n")
        self._until_marker()

    def run(self, command: str, seconds: int = COMMAND_S) -> Output:
        """Run a command, and return what it did.

        Args:
            command: In the language of /bin/sh.
            seconds: After which it is ended.

        Raises:
            LostError: The connection broke; the command may have run.
        """
        parts = {"marker": self._marker, "command": shlex.quote(command), "seconds": seconds}
        self._write(_RUN % parts)
        text, end = self._until_marker()
        status, _, words = end.partition(" ")
        return Output(int(status), text, "".join(c if c.isprintable() else "?" for c in words.strip()))

    def _write(self, text: str) -> None:
        try:
            self._pipes.write(text.encode())
        except BrokenPipeError:
            raise LostError(complaint(self.host, "its shell has ended")) from None

    def _until_marker(self) -> tuple[str, str]:
        """Return what was printed, and what follows the marker on its line."""
        found = bytearray()
        while len(found) < _MOST:
            line = self._pipes.readline(_LINE)
            if line.startswith(self._marker.encode()) and line.endswith(b"\n"):
                end = line.decode(errors="replace")[len(self._marker) :].strip()
                return found[:-1].decode(errors="replace"), end
            if not line:
                raise LostError(complaint(self.host, "the connection broke"))
            found += line
        raise SubmitError(complaint(self.host, "a command there prints without end"))

    def close(self) -> None:
        """End it."""
        self._pipes.close()


def start(host: str, is_here: bool) -> Shell:
    """Return a shell on a host.

    Args:
        host: [USER@]HOST[:PORT], or a Host of the user's ssh_config.
        is_here: Whether it is this machine, which needs no connection.

    Raises:
        LostError: The host cannot be reached now.
        SubmitError: It is refused, or refuses us.
    """
    pipes = Process(host, ["/bin/sh"]) if is_here else connection.start(host, "/bin/sh", _FLAG)
    try:
        return Shell(host, pipes)
    except BaseException:
        pipes.close()
        raise
