"""Become an agent here, of the jobkit that was brought along or of the one that is installed."""

from __future__ import annotations

import os
import sys

from . import frames
from .launch import seen


def main(marker: str, words: list[str]) -> None:
    """Say what is true of this host, and leave standard input and output to the agent.

    Args:
        marker: The line that the answer follows; what is before it is noise.
        words: What the interpreter is to run.
    """
    sys.stdout.buffer.write(f"\n{marker}\n".encode() + frames.packed(seen(dict(os.environ))))
    sys.stdout.buffer.flush()
    os.chdir("/")
    os.execv(sys.executable, [sys.executable, *words])
