"""A process of this machine in the place of a command on another."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence

_END_S = 40


class Process:
    """Bytes to its standard input, bytes from its output; as `remote.connection.Channel`.

    Attributes:
        login: What this machine is called.
    """

    def __init__(self, login: str, command: Sequence[str]) -> None:
        """Start it; what it says on standard error is dropped.

        Raises:
            OSError: It cannot be started.
        """
        self.login = login
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)

    def write(self, data: bytes) -> None:
        """Write all of the data.

        Raises:
            BrokenPipeError: It has ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def read(self, size: int, /) -> bytes:
        """Return this many bytes, fewer at the end."""
        assert self._process.stdout is not None
        return self._process.stdout.read(size)

    def readline(self, size: int, /) -> bytes:
        """Return a line with its end; without it at the end, or when it is longer."""
        assert self._process.stdout is not None
        return self._process.stdout.readline(size)

    def close(self) -> None:
        """Let it see the end of its input, and wait for its end."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
