"""What jobkit tells its user on stderr: colour on a terminal, plain text in a pipe or with NO_COLOR."""

from __future__ import annotations

import os
import sys

from jobkit.cli import streams

_RED, _YELLOW, _RESET = "\x1b[31m", "\x1b[33m", "\x1b[0m"


def _colour(code: str, text: str) -> str:
    plain = bool(os.environ.get("NO_COLOR")) or not sys.stderr.isatty()
    return text if plain else f"{code}{text}{_RESET}"


def say(text: str) -> None:
    """Print one line of progress. Where nobody can read it any more (`2>&1 | head`), nothing else changes."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        streams.drop_talk()


def warn(text: str) -> None:
    """Print a warning: the work goes on."""
    say(_colour(_YELLOW, "jobkit: warning:") + f" {text}")


def error(text: str) -> None:
    """Print an error: the work has ended."""
    say(_colour(_RED, "jobkit: error:") + f" {text}")
