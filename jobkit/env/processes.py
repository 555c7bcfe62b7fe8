"""Find and end every process of a job, wherever its ranks' children have gone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable

from jobkit.env import names

_PROC = "/proc"
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_KEEPER = f"{names.KEEPER}=".encode()

POLL_S = 0.02  # between two looks at who is left
GIVE_UP_S = 10.0


def become_subreaper() -> None:
    """Make orphans among this process's descendants its own children, where the system can (Linux)."""
    if not os.path.exists(f"{_PROC}/self"):
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap() -> dict[int, int]:
    """Collect every child that has ended: wait statuses by process id."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = status


def marks(job: str, run_dir: str = "", rank: int | None = None, node: int | None = None) -> frozenset[bytes]:
    """Return what every process of a job, or of one rank or node of it, carries in its environment.

    Args:
        job: The job's id.
        run_dir: The job's run folder; "" for any. A job of the same id may run for another JOBKIT_HOME.
        rank: The rank; None for all.
        node: The node; None for all.
    """
    texts = (
        f"{names.JOB}={job}",
        f"{names.RUN_DIR}={run_dir}" if run_dir else "",
        "" if rank is None else f"{names.RANK}={rank}",
        "" if node is None else f"{names.NODE}={node}",
    )
    return frozenset(os.fsencode(text) for text in texts if text)


def members(marked: frozenset[bytes], groups: Iterable[int], roots: Iterable[int] = ()) -> set[int]:
    """Return the living processes of a job.

    On Linux they are this process's descendants (a subreaper keeps those that daemonise) and those that
    carry the job's marks in their environment; elsewhere, its descendants and the members of the
    ranks' process groups. A job that one of them submitted is not theirs: its keeper, marked in its
    environment, and what is below it are left alone.

    Args:
        marked: What `marks` returns.
        groups: Process groups of the ranks.
        roots: Processes that belong to it with all their descendants.
    """
    tops = (*roots, os.getpid())
    found = _by_proc(marked, tops) if os.path.exists(f"{_PROC}/self") else _by_ps(set(groups), tops)
    return found - {os.getpid()}


def _by_proc(marked: frozenset[bytes], tops: tuple[int, ...]) -> set[int]:
    parents: dict[int, int] = {}
    found: set[int] = set()
    for entry in os.listdir(_PROC):
        if not entry.isdigit():
            continue
        pid, stat = int(entry), _read(f"/proc/{entry}/stat")
        fields = stat.rpartition(b")")[2].split()
        if len(fields) < 2 or fields[0] in (b"Z", b"X"):
            continue
        environ = set(_read(f"/proc/{entry}/environ").split(b"\0"))
        if any(variable.startswith(_KEEPER) for variable in environ):
            continue
        parents[pid] = int(fields[1])
        if marked <= environ:
            found.add(pid)
    return found | _descendants(parents, tops)


def _read(path: str) -> bytes:
    """Return a file's bytes; nothing for a process that has ended or is another user's."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _descendants(parents: dict[int, int], tops: tuple[int, ...]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found, new = {top for top in tops if top in parents}, list(tops)
    while new:
        below = children.get(new.pop(), [])
        found.update(below)
        new += below
    return found


def _by_ps(groups: set[int], tops: tuple[int, ...]) -> set[int]:
    import subprocess

    ps = subprocess.Popen(["ps", "-axo", "pid=,ppid=,pgid=,stat="], stdout=subprocess.PIPE, text=True)
    rows = [line.split() for line in ps.communicate()[0].splitlines()]
    alive = [
        (int(pid), int(parent), int(group))
        for pid, parent, group, state in rows
        if "Z" not in state and int(pid) != ps.pid
    ]
    found = {pid for pid, _, group in alive if group in groups}
    return found | _descendants({pid: parent for pid, parent, _ in alive}, tops)


def send(pid: int, number: int) -> None:
    """Send a signal to a process, which may have ended meanwhile."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


class Ending:
    """Ends every process that `find` returns: TERM, after a grace KILL, until there is none.

    A process that is stopped is continued so that it sees the TERM, and one that appears meanwhile gets its
    own. Processes that cannot be killed (another user's, or stuck in the kernel) are given up after
    GIVE_UP_S.
    """

    def __init__(self, find: Callable[[], set[int]], grace_s: float, asked: Iterable[int] = ()) -> None:
        self._find, self._asked = find, set(asked)
        self._kill_at = time.monotonic() + grace_s
        self._empty = 0
        self.left: set[int] = set()

    def hasten(self, grace_s: float) -> None:
        """Bring the KILL forward, never back."""
        self._kill_at = min(self._kill_at, time.monotonic() + grace_s)

    def step(self) -> bool:
        """Signal who is left, and say whether nobody is; to be called every POLL_S."""
        self.left = self._find()
        # One empty look may have missed a child born behind it.
        self._empty = 0 if self.left else self._empty + 1
        now = time.monotonic()
        if now < self._kill_at:
            self._ask()
        else:
            for pid in self.left:
                send(pid, signal.SIGKILL)
        return self._empty >= 2 or now > self._kill_at + GIVE_UP_S

    def _ask(self) -> None:
        for pid in self.left - self._asked:
            send(pid, signal.SIGTERM)
            send(pid, signal.SIGCONT)
        self._asked |= self.left
