"""Start and end the ranks of one host, as asked over standard input: `python -m jobkit.agent`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from jobkit.agent import wire
from jobkit.agent.request import Request, decode
from jobkit.agent.sentinel import guard
from jobkit.agent.server import serve


def main() -> int:
    """Read the request, then part: the parent stays as the sentinel, the child is the agent."""
    request = _request(0)
    if request is None:
        return 0
    run_dir = _run_dir(request)
    litter = run_dir if request.run_dir is None else run_dir / f"attempt-{request.attempt}" / "gang"
    from_agent, to_sentinel = os.pipe()
    from_sentinel, to_agent = os.pipe()
    agent = os.fork()
    if agent:
        for fd in (1, to_sentinel, from_sentinel):
            os.close(fd)
        return guard(agent, from_agent, 0, request.job, litter)
    os.setsid()
    os.close(from_agent)
    os.close(to_agent)
    return serve(
        request, run_dir, lease=0, to_launcher=1, from_sentinel=from_sentinel, to_sentinel=to_sentinel
    )


def _request(fd: int) -> Request | None:
    """Read exactly the first frame; None if the launcher has gone already."""
    head = _read(fd, 5)
    if head[4:] != wire.REQUEST:
        return None
    payload = _read(fd, int.from_bytes(head[:4], "big") - 1)
    return decode(payload) if payload else None


def _read(fd: int, n_bytes: int) -> bytes:
    data = b""
    while len(data) < n_bytes:
        part = os.read(fd, n_bytes - len(data))
        if not part:
            return b""
        data += part
    return data


def _run_dir(request: Request) -> Path:
    """Return the run folder; a private temporary one if none was given."""
    if request.run_dir is not None:
        return Path(request.run_dir)
    return Path(tempfile.mkdtemp(prefix="jobkit-"))


if __name__ == "__main__":
    sys.exit(main())
