"""A second process beside a watched program: sees which signals reach all of them, and outlives the watcher.

Launchers do not agree on whom they signal. Slurm's daemon signals every process of a step, Hydra, PRRTE,
torchrun and a terminal the process group, a user with `kill` one process. The witness is in the watcher's
process group and among its descendants, as the program is: what reaches the witness has reached the program,
and only what has not is forwarded. It is idle otherwise, and ends what is left when the watcher is killed.
"""

from __future__ import annotations

import os
import select
import signal
import time

TYPE_CHECKING = False

if TYPE_CHECKING:
    from types import FrameType

# From the watcher: that it has finished, and the question what has been seen until now.
FINISHED, ASK = b"f", b"a"
ANSWER = 0  # behind everything that has been seen
GRACE_S = 1.0  # between TERM and KILL when the watcher is gone


def testify(lease: int, echo: int, caught: frozenset[int], mask: set[int], presence: int = -1) -> bool:
    """Say what signals come, and return at the watcher's end whether it had finished.

    Args:
        lease: Reading end of a pipe that the watcher holds.
        echo: Where the numbers of signals go, a byte each.
        caught: The signals concerned; blocked when this is called.
        mask: What is to be blocked instead.
        presence: A descriptor to keep open, which shows that the rank is not over.
    """
    wake, write = os.pipe()
    _keep_only((lease, echo, wake, write, presence))
    for fd in (wake, write):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in caught:
        signal.signal(number, ignore)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    poll = select.poll()
    poll.register(lease, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        asked = os.read(lease, 1) if lease in ready else ASK
        if asked != ASK:
            return asked == FINISHED
        seen = _read_all(wake)
        if lease in ready:
            seen += bytes((ANSWER,))
        _tell(echo, seen)


def end(job: str, run_dir: str, rank: int, child: int) -> None:
    """End a program whose watcher is gone, with what it has started.

    Args:
        job, run_dir, rank: What its processes carry in their environment.
        child: The program's own process.
    """
    from jobkit.env.processes import POLL_S, Ending, marks, members

    marked = marks(job, run_dir, rank)
    ending = Ending(lambda: members(marked, (), (child,)), GRACE_S)
    while not ending.step():
        time.sleep(POLL_S)


def ignore(_number: int, _frame: FrameType | None) -> None:
    """Take no notice; what is ignored in the system's own way would be ignored by children too."""


def _keep_only(kept: tuple[int, ...]) -> None:
    """Close every other descriptor: a pipe of the launcher's ends when the program has closed it."""
    for name in os.listdir("/dev/fd"):
        fd = int(name)
        if fd not in kept:
            _close(fd)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:  # the one that the folder was read through
        return


def _read_all(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except BlockingIOError:
        return b""


def _tell(echo: int, numbers: bytes) -> None:
    try:
        os.write(echo, numbers)
    except BrokenPipeError:
        return
