"""Run one host's ranks of a launch in a batch job: `python -m jobkit.cli.batch_node FILE NODE`.

What to run, with whatever is secret in its environment, comes from a file of mode 0600; argv holds its name
only. A connection to the launcher is the lease: its end is that of the ranks.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path

from jobkit.agent.request import Request, decode
from jobkit.cli.foreground import Foreground
from jobkit.errors import Exit


def main(path: str, node: int) -> int:
    """Run this host's ranks, tell the launcher how they ended, and return that too."""
    plan = json.loads(Path(path).read_text())
    address, port, secret = plan["launcher"]
    over = threading.Event()
    with socket.create_connection((address, port), timeout=60) as lease:
        lease.settimeout(None)
        lease.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        lease.sendall(f"{secret} {node}\n".encode())
        threading.Thread(target=_hold, args=(lease, over), daemon=True).start()
        status = Foreground(part(plan, node), label=False, table=False).run(sys.executable)
        over.set()
        with contextlib.suppress(OSError):  # the launcher is gone: that was the end of the ranks
            lease.sendall(f"{status}\n".encode())
    return status


def part(plan: dict[str, object], node: int) -> Request:
    """Return what this host's agent is asked."""
    whole = decode(json.dumps(plan["request"]).encode())
    ranks = whole.local_size
    return replace(whole, node=node, first_rank=node * ranks)


def _hold(lease: socket.socket, over: threading.Event) -> None:
    """End the ranks when the launcher is gone or says so."""
    with contextlib.suppress(OSError):
        lease.recv(1)
    if not over.is_set():
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])) if len(sys.argv) == 3 else int(Exit.USAGE))
