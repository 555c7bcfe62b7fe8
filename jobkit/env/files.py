"""Write the shim's private files."""

from __future__ import annotations

import os

from jobkit.errors import LaunchError, complaint


def write_private(path: str, text: str) -> None:
    """Write a file of mode 0600 at once: a reader finds all of it or none.

    Raises:
        LaunchError: The folder is gone, not writable, or full.
    """
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _write_all(fd, text.encode())
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except OSError as error:
        _forget(temporary)
        raise LaunchError(complaint(path, f"cannot be written ({error.strerror})")) from error


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return
