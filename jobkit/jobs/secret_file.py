"""The secrets of a job on disk: one file, 0600, whose values are gone when the job has ended."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from jobkit.jobs.folder import SECRETS


def dumps(values: Mapping[str, str]) -> bytes:
    """Return the content of the file."""
    return (json.dumps(dict(values), indent=1) + "\n").encode()


def read(run_dir: Path) -> dict[str, str]:
    """Return the secrets of a job."""
    values = json.loads((run_dir / SECRETS).read_bytes())
    return {name: value for name, value in values.items() if value is not None}


def erase(run_dir: Path) -> None:
    """Leave the names alone in the file, if there is one.

    It is overwritten in place, so that the values go on a full disk, too; there the names may go with them.
    """
    path = run_dir / SECRETS
    with contextlib.suppress(FileNotFoundError):
        names = json.dumps(dict.fromkeys(_names(path)), indent=1) + "\n"
        os.truncate(path, 0)
        with contextlib.suppress(OSError):
            path.write_text(names)


def _names(path: Path) -> list[str]:
    try:
        return list(json.loads(path.read_bytes()))
    except ValueError:  # empty, after a first time on a full disk
        return []
