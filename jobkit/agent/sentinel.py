"""The second process of an agent: tiny, in a session of its own, it ends the job when the agent is gone."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from jobkit.env.processes import POLL_S, Ending, become_subreaper, marks, members, reap, send

GONE_GRACE_S = 1.0  # between TERM and KILL when nobody is left who could wait for more
_AGENT_MAY_TAKE_S = 2.5  # from the end of the lease, before an agent that does nothing is ended too

# From the agent: each rank's process group as it starts, and that everything has ended in order.
GROUP, FINISHED = b"g", b"f"


def guard(agent: int, watch: int, lease: int, job: str, run_dir: Path, litter: Path, node: int = 0) -> int:
    """Wait for the agent's end, end what it has left, and remove its private files.

    Args:
        agent: The agent's process, a child of this one.
        watch: Reading end of a pipe that the agent writes to while it lives.
        lease: The launcher's pipe, watched for its end only.
        job: The job's id.
        run_dir: Its run folder.
        litter: Folder to remove.
        node: This host among the job's.
    """
    become_subreaper()
    signal.signal(signal.SIGTERM, lambda *_: send(agent, signal.SIGTERM))
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, _ignore)
    said = b"".join(_heard(watch, lease))
    if not said.endswith(FINISHED):
        send(agent, signal.SIGKILL)
        _end(job, run_dir, node, said)
    shutil.rmtree(litter, ignore_errors=True)
    reap()
    return 0


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Take no notice; what is ignored in the system's own way would be ignored by the ranks too."""


def _heard(watch: int, lease: int) -> Iterator[bytes]:
    """Yield what the agent writes, until its end or until it does not follow the end of the lease."""
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    poll.register(lease, 0)
    deadline: float | None = None
    while True:
        left_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        ready = dict(poll.poll(left_ms))
        if lease in ready:
            poll.unregister(lease)
            deadline = time.monotonic() + _AGENT_MAY_TAKE_S
        if watch in ready:
            data = os.read(watch, 4096)
            if not data:
                return
            yield data
        elif deadline is not None and time.monotonic() >= deadline:
            return


def _end(job: str, run_dir: Path, node: int, said: bytes) -> None:
    groups = [int(line[1:]) for line in said.split(b"\n") if line.startswith(GROUP)]
    ending = Ending(lambda: members(marks(job, str(run_dir), node=node), groups), GONE_GRACE_S)
    while not ending.step():
        reap()
        time.sleep(POLL_S)
    with contextlib.suppress(ChildProcessError):
        reap()
