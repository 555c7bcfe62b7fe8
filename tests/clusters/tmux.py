"""A terminal with somebody at it: a pane of tmux, which is typed to and read as a person would."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_DEADLINE_S = 90.0


def why_not() -> str:
    """Return why there can be none, "" where there can."""
    return "" if shutil.which("tmux") else "a terminal of its own needs tmux"


class Pane:
    """One window, with a shell in it."""

    def __init__(self, folder: Path, environ: Mapping[str, str], columns: int = 100, rows: int = 30) -> None:
        """Open it; `environ` is the shell's."""
        self._tmux = ("tmux", "-S", str(folder / "tmux"), "-f", "/dev/null")
        inherited = {name: value for name, value in environ.items() if name not in ("COLUMNS", "LINES")}
        own = {**inherited, "PS1": "$ ", "ENV": "", "LANG": "C.UTF-8"}
        size = ("-x", str(columns), "-y", str(rows))
        self._call(
            "new-session", "-d", *size, "env", "-i", *(f"{k}={v}" for k, v in own.items()), "dash", "-i"
        )
        self.expect("$ ")

    def _call(self, *words: str) -> str:
        asked = subprocess.run(
            [*self._tmux, *words],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "TERM": "xterm"},
        )
        return asked.stdout

    def run(self, command: Sequence[str]) -> None:
        """Type a command line."""
        self.type(shlex.join(command))
        self.press("Enter")

    def type(self, text: str) -> None:
        """Type a text."""
        self._call("send-keys", "-l", "--", text)

    def press(self, key: str) -> None:
        """Press a key by tmux's name: Enter, C-c, C-z."""
        self._call("send-keys", key)

    def resize(self, columns: int, rows: int) -> None:
        """Make the window another size."""
        self._call("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self, *, styled: bool = False) -> str:
        """Return everything that is on the screen and above it."""
        return self._call("capture-pane", "-p", "-J", "-S", "-500", *(("-e",) if styled else ()))

    def expect(self, text: str, times: int = 1) -> str:
        """Wait until a text is on the screen so many times; return the screen."""
        until = time.monotonic() + _DEADLINE_S
        while (shown := self.screen()).count(text) < times:
            assert time.monotonic() < until, f"{text!r} does not appear {times} times:\n{shown}"
            time.sleep(0.05)
        return shown

    def close(self) -> None:
        """Close it, and end tmux."""
        self._call("kill-server")
