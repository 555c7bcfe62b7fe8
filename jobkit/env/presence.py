"""The place of a rank without an agent in its attempt's folder: taken when it starts, left when it ends.

A launcher may use the name of a job again, and whoever kills a watcher and its witness at once leaves secrets
behind; so what an earlier rank left here goes first. The place holds a file that stays locked while the
watcher or its witness lives, on whatever host: that tells `jobkit clean` and `jobkit list` who is at work.
"""

from __future__ import annotations

import fcntl
import os

from jobkit.env.files import remove

TYPE_CHECKING = False

if TYPE_CHECKING:
    from jobkit.env.translate import Identity

ALIVE = "alive"


def take(identity: Identity, rank: int) -> int:
    """Return a descriptor whose copies hold the place; -1 where no folder can be written."""
    attempt = os.path.dirname(identity.folder)
    try:
        _forget(attempt, rank)
        os.makedirs(identity.folder, mode=0o700, exist_ok=True)
        # It gets its name when it is locked: nobody finds it unlocked while this process lives.
        unnamed = f"{identity.folder}/.{ALIVE}"
        fd = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _lock(fd)
        os.replace(unnamed, f"{identity.folder}/{ALIVE}")
    except OSError:
        return -1
    return fd


def _lock(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # without locks in this file system the rank is taken to be alive
        return


def forget_beyond(identity: Identity, size: int) -> None:
    """Remove what an earlier, larger job of this name has left of the ranks that this one does not have."""
    attempt = os.path.dirname(identity.folder)
    try:
        known = {name.partition(".")[0].removeprefix("rank-") for name in os.listdir(attempt)}
    except OSError:
        return
    for text in known:
        if text.isdecimal() and int(text) >= size:
            _forget(attempt, int(text))


def _forget(attempt: str, rank: int) -> None:
    gang = f"{attempt}/rank-{rank}.gang"
    try:
        names = os.listdir(gang)
    except OSError:  # there is no such folder
        names = []
    files = [f"{gang}/{name}" for name in (ALIVE, *names)]
    remove((*files, f"{attempt}/rank-{rank}.exit.json", f"{attempt}/rank-{rank}.victim.json"), attempt)
