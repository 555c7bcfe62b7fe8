"""Who a process is, so that a process id used again is never taken for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True)
class Identity:
    """One process, told from every other one.

    Attributes:
        pid: Its id on its host.
        start: When it started: ticks since the boot on Linux, a date on macOS.
        boot_id: The boot of the machine that it runs in.
        host: The machine's name, for people.
    """

    pid: int
    start: str
    boot_id: str
    host: str


def identify(pid: int) -> Identity | None:
    """Return who a process of this machine is; None when there is none, or only its zombie."""
    start = _start(pid)
    return None if start is None else Identity(pid, start, boot_id(), socket.gethostname())


def is_alive(identity: Identity) -> bool:
    """Tell whether this very process still runs here."""
    return identity.boot_id == boot_id() and _start(identity.pid) == identity.start


def send(identity: Identity, signum: signal.Signals) -> bool:
    """Send a signal to this very process; False when it has gone.

    On Linux a descriptor of the process is taken before its identity is checked, so that no process that
    got its id later can be hit; elsewhere a window of microseconds remains.
    """
    try:
        pidfd = os.pidfd_open(identity.pid) if sys.platform == "linux" else None
    except ProcessLookupError:
        return False
    except OSError:  # a kernel before 5.3
        pidfd = None
    try:
        return is_alive(identity) and _send(identity.pid, pidfd, signum)
    finally:
        if pidfd is not None:
            os.close(pidfd)


def _send(pid: int, pidfd: int | None, signum: signal.Signals) -> bool:
    try:
        if pidfd is None:
            os.kill(pid, signum)
        elif sys.platform == "linux":
            signal.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        return False
    return True


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Return what changes with every boot of this machine."""
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "kern.bootsessionuuid") or "unknown"
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start(pid: int) -> str | None:
    if sys.platform == "darwin":
        # 'Ss   Sun Nov 22 10:15:30 2026'
        state, _, start = _output("ps", "-o", "stat=,lstart=", "-p", str(pid)).partition(" ")
        return None if state[:1] in ("Z", "") else start.strip()
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # '4711 (a) b) S 1 …': the name may hold anything; the state is field 3, the start time field 22.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
