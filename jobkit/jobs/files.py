"""Write files that are whole at every moment, also when the disk is full or the writer is killed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

# Enough for the record of some hundred ranks.
BALLAST_BYTES = 256 * 1024
BALLAST = "ballast"
FULL = (errno.ENOSPC, errno.EDQUOT)


def create(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a new file with exactly this mode; FileExistsError where there is one."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(fd, mode)
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def replace(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file so that a reader sees the old content or the new one, also after a crash.

    One process at a time may do this for one path.

    Raises:
        OSError: The file could not be written (a full disk); the old content is still there.
    """
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)  # of a writer that was killed
    try:
        create(new, data, mode)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_all(fd: int, data: bytes) -> None:
    """Write all of the data, however little each write takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a crash of the machine."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def take_ballast(folder: Path, n_bytes: int = BALLAST_BYTES) -> None:
    """Occupy the space that the last record will need, with bytes that no file system can compress."""
    create(folder / BALLAST, os.urandom(n_bytes))


def drop_ballast(folder: Path) -> None:
    """Give the space back."""
    (folder / BALLAST).unlink(missing_ok=True)


def is_full(error: OSError) -> bool:
    """Tell whether a write failed because there is no space left."""
    return error.errno in FULL
