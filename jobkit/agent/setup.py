"""The `setup` lines of a job: run once on a host, and what environment they leave."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from jobkit.env.record import signal_name

_TAIL_BYTES = 2000
_SHELLS_OWN = ("_", "SHLVL", "PWD", "OLDPWD")  # bash's bookkeeping, not the lines' work


class Setup:
    """Bash running the lines. `poll` says when it has ended; then `environ` or `failure` is the result."""

    def __init__(self, lines: Sequence[str], environ: dict[str, str], workdir: str, log: Path) -> None:
        self._lines, self._before, self._log = tuple(lines), environ, log
        reader, writer = os.pipe()
        self._result = os.fdopen(reader, "rb", buffering=0)
        os.set_blocking(reader, False)
        self._written = bytearray()
        with os.fdopen(
            os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb"
        ) as output:
            self.process = subprocess.Popen(
                ["/bin/bash", "-c", script(lines, writer)],
                cwd=workdir,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(writer,),
                start_new_session=True,
            )
        os.close(writer)

    def fileno(self) -> int:
        """Return the descriptor that is readable while bash reports."""
        return self._result.fileno()

    def read(self) -> bool:
        """Take what bash reported; False at its end."""
        data = self._result.read(1 << 16)
        self._written += data or b""
        return data != b""

    def drain(self) -> None:
        """Take what is there when bash has ended; a process that it left behind may keep the pipe open."""
        while data := self._result.read(1 << 16):
            self._written += data

    def environ(self) -> dict[str, str]:
        """Return the environment that the lines left; nothing where one of them ended the shell."""
        left = dict(
            item.split("=", 1)
            for item in os.fsdecode(bytes(self._written)).split("\0")[len(self._lines) :]
            if "=" in item
        )
        if not left:
            return {}
        kept = {name: self._before[name] for name in _SHELLS_OWN if name in self._before}
        return {**{name: value for name, value in left.items() if name not in _SHELLS_OWN}, **kept}

    def failure(self, status: int, host: str) -> str:
        """Return the message of a line that failed or ended the shell, with the end of what it wrote.

        Args:
            status: Of bash; negative for the signal that killed it.
            host: The name of this host.
        """
        number = bytes(self._written).count(b"\0")
        line = self._lines[number - 1] if 0 < number <= len(self._lines) else ""
        tail = self._log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
        message = f"setup: line {number} {_how(status)} on {host}: {line}"
        return message + (f"\n{tail}" if tail else "")

    def close(self) -> None:
        """Let go of the pipe."""
        self._result.close()


def _how(status: int) -> str:
    if status < 0:
        return f"was killed by {signal_name(-status)}"
    if status == 0:
        return "ended the shell, expected every line to go on to the next"
    return f"failed with status {status}"


def script(lines: Sequence[str], fd: int) -> str:
    """Return bash's script: a NUL to `fd` as each line begins, at the end the environment there.

    >>> print(script(["module load cuda"], 5))
    set -e
    printf '\\0' >&5
    eval 'module load cuda'
    exec env -0 >&5
    """
    steps = [f"printf '\\0' >&{fd}\neval {shlex.quote(line)}" for line in lines]
    return "\n".join(["set -e", *steps, f"exec env -0 >&{fd}"])
