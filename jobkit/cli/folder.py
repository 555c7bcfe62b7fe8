"""The folder in which jobkit was called."""

from __future__ import annotations

from pathlib import Path

from jobkit.errors import SpecError, complaint


def current() -> str:
    """Return its path.

    Raises:
        SpecError: It has been removed.
    """
    try:
        return str(Path.cwd())
    except OSError as error:
        raise SpecError(
            complaint("the current folder", f"is gone ({error.strerror})", hint="cd to one that exists")
        ) from error
