"""Start and end the ranks of one host, as asked over standard input: `python -m jobkit.agent`."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

from jobkit.agent import wire
from jobkit.agent.events import Done, Problem
from jobkit.agent.ranks import jaccl_file
from jobkit.agent.request import Request, decode
from jobkit.agent.sentinel import guard
from jobkit.agent.server import Ends, serve
from jobkit.env.files import write_private
from jobkit.env.translate import gang_folder
from jobkit.errors import Exit, LaunchError


def main() -> int:
    """Read the request, then part: the parent stays as the sentinel, the child is the agent."""
    fresh_signals()
    request = _request(0)
    if request is None:
        return 0
    try:
        run_dir = _run_dir(request)
        if request.token is not None:
            write_private(str(run_dir / "token"), request.token)
        if request.jaccl_rows is not None:
            write_private(jaccl_file(request, run_dir), request.jaccl_rows)
    except (OSError, LaunchError) as error:
        _refuse(f"{os.uname().nodename}: no temporary folder can be made ({error})")
        return Exit.NOT_STARTED
    attempt = run_dir / f"attempt-{request.attempt}"
    litter = run_dir if request.run_dir is None else attempt / gang_folder(request.node, request.nodes)
    from_agent, to_sentinel = os.pipe()
    from_sentinel, to_agent = os.pipe()
    agent = os.fork()
    if agent:
        for fd in (1, to_sentinel, from_sentinel):
            os.close(fd)
        return guard(agent, from_agent, 0, request.job, run_dir, litter, request.node)
    os.setsid()
    os.close(from_agent)
    os.close(to_agent)
    ends = Ends(lease=0, to_launcher=1, from_sentinel=from_sentinel, to_sentinel=to_sentinel)
    serve(request, run_dir, litter, ends)
    return 0


def fresh_signals() -> None:
    """Let every signal mean what it does by default, here and so in the ranks.

    A launcher in the background of a script, under nohup or with a terminal may ignore or block some.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for name in ("HUP", "INT", "QUIT", "TERM", "TSTP", "TTIN", "TTOU", "USR1", "USR2", "ALRM", "CHLD"):
        signal.signal(getattr(signal, f"SIG{name}"), signal.SIG_DFL)


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
    """Return the run folder; if none was given, a private one in JOBKIT_HOME or else in TMPDIR.

    Raises:
        OSError: None can be made.
    """
    if request.run_dir is not None:
        return Path(request.run_dir)
    home = request.environ.get("JOBKIT_HOME")
    if home:
        Path(home).mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="jobkit-", dir=home or request.environ.get("TMPDIR") or None))


def _refuse(message: str) -> None:
    for event in (Problem(Exit.NOT_STARTED, message), Done(None, Exit.NOT_STARTED)):
        os.write(1, wire.encode_event(event))


if __name__ == "__main__":
    sys.exit(main())
