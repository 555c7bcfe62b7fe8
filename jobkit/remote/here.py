"""Agents of this machine, of a launch or job that has other machines too."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterable, Sequence

from jobkit.errors import LaunchError, complaint

_LEAVE_S = 3.0  # beyond the graces of an agent and its sentinel, before it is killed


def start(command: Sequence[str]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start an agent; return it, and what is written to it and read from it.

    Raises:
        LaunchError: The interpreter cannot be started.
    """
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(
            command, cwd="/", stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True
        )
    except OSError as error:
        ours.close()
        raise LaunchError(complaint(command[0], f"the agent cannot be started ({error.strerror})")) from error
    finally:
        theirs.close()
    return process, ours


def leave(processes: Iterable[subprocess.Popen[bytes]], grace_s: float) -> None:
    """Wait for the end of agents whose lease has ended, with as much patience as their ranks' grace needs."""
    for process in processes:
        try:
            process.wait(2 * grace_s + _LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
