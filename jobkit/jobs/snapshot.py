"""A copy of the working directory, from which a job runs whatever happens to the original."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection
from pathlib import Path

from jobkit.errors import SubmitError, complaint

# A repository's history is no part of what runs; its commit is in the job's record.
_LEFT_OUT = frozenset({".git"})


def take(source: Path, target: Path, exclude: Collection[Path] = ()) -> None:
    """Copy a folder with modes and times, without `.git` and without the folders in `exclude`.

    Symbolic links stay links. One that points inside the folder points to the copy, one that points
    outside to what it pointed to. Sockets, pipes and devices are left out.

    Args:
        exclude: Run folders, which would otherwise be copied into each other.

    Raises:
        SubmitError: Something in it cannot be read, or there is no room.
    """
    try:
        _copy(source.resolve(), target, source.resolve(), {path.resolve() for path in exclude})
    except OSError as error:
        where = f"snapshot: {error.filename or source}"
        raise SubmitError(complaint(where, f"cannot be copied: {error.strerror}")) from error


def _copy(source: Path, target: Path, root: Path, exclude: set[Path]) -> None:
    target.mkdir()
    for entry in os.scandir(source):
        path, copy = Path(entry.path), target / entry.name
        if entry.name in _LEFT_OUT:
            continue
        if entry.is_symlink():
            copy.symlink_to(_link(path, root))
        elif entry.is_dir():
            if path not in exclude:
                _copy(path, copy, root, exclude)
        elif stat.S_ISREG(entry.stat().st_mode):
            shutil.copy2(path, copy)
    shutil.copystat(source, target)


def _link(path: Path, root: Path) -> str:
    """Return where the copy of a link points."""
    written = path.readlink()
    # Not resolved: a link to a link inside stays that.
    meant = Path(os.path.normpath(path.parent / written))
    if meant == root or root in meant.parents:
        return os.path.relpath(meant, path.parent)
    return str(meant)
