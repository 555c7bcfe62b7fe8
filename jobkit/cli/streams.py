"""Standard input, output and error: there whoever called, and written or complained about."""

from __future__ import annotations

import errno
import os
import sys

_CANNOT_TAKE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def open_all() -> None:
    """Let descriptors 0, 1 and 2 be open, so that no file of ours takes the number of one that was closed."""
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= 2:
        os.set_inheritable(fd, True)
        fd = os.dup(fd)
    os.close(fd)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 a descriptor, for as long as we live
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def refused(error: OSError) -> bool:
    """Tell whether it is one of our streams that cannot take what is written: no file has a part in it."""
    return error.filename is None and error.errno in _CANNOT_TAKE


def drop_output() -> None:
    """Write the rest of standard output to nowhere, so that Python does not complain at exit."""
    _drop(1)


def drop_talk() -> None:
    """Write the rest of standard error to nowhere."""
    _drop(2)


def _drop(stream: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream)
    os.close(nowhere)
