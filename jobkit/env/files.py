"""Write and remove the shim's private files."""

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


def remove(files: tuple[str, ...], run_dir: str) -> None:
    """Remove the shim's files, and the folders below the run folder that are empty without them."""
    for path in files:
        try:
            os.unlink(path)
        except OSError:
            continue
    for folder in sorted({os.path.dirname(path) for path in files}, key=len, reverse=True):
        while folder.startswith(f"{run_dir}/"):
            try:
                os.rmdir(folder)
            except OSError:
                break
            folder = os.path.dirname(folder)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return
