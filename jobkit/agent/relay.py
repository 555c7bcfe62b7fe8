"""Run the agent of a host whose launcher is on another one: `python -m jobkit.agent.relay FILE NODE`.

FILE, of mode 0600, says where the launcher listens and what secret it has; NODE is this host among the job's,
or a variable that says it. The connection takes the place of the agent's pipes: its end is the launcher's.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from jobkit.agent import introduction
from jobkit.errors import Exit

# What is true of one host alone, so that its ranks take it from the process that the scheduler started there.
OWN_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
_CONNECT_S = 5.0
_LOOK_S = 60.0
_PAUSE_S = 0.2
_BYTES = 1 << 16


def main(path: str, node: str) -> int:
    """Find the launcher and stand between it and an agent until both have ended."""
    # A scheduler may send these to every process of a step, and mean the ranks.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)
    about = json.loads(Path(path).read_text())
    connection = _found(about, int(os.environ.get(node, node)))
    if connection is None:
        sys.stderr.write(f"jobkit: {os.uname().nodename}: the launcher is not found at {_places(about)}\n")
        return Exit.NOT_STARTED
    return Exit.OK if carry(connection, [sys.executable, "-m", "jobkit.agent"]) == 0 else Exit.NOT_STARTED


def carry(
    connection: socket.socket, command: list[str], first: bytes = b"", silence_s: float | None = None
) -> int:
    """Stand between a connection and an agent until both have ended; return the agent's status.

    Args:
        connection: To whoever has the lease.
        command: The agent's.
        first: What it is to read before what comes over the connection.
        silence_s: When the agent has ended, a connection that was silent for so long is not waited for; None
            to wait for its end.
    """
    heard = [time.monotonic()]
    # In a session of its own: a signal to this process is not one to the ranks.
    agent = subprocess.Popen(
        command, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0
    )
    assert agent.stdin is not None and agent.stdout is not None
    to_agent = threading.Thread(target=_forward, args=(connection, agent.stdin, first, heard), daemon=True)
    to_agent.start()
    with contextlib.suppress(OSError):  # the launcher is gone, and the other thread tells the agent
        while data := agent.stdout.read(_BYTES):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    if silence_s is not None and time.monotonic() - heard[0] > silence_s:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    to_agent.join()
    return agent.wait()


def _forward(connection: socket.socket, pipe: IO[bytes], data: bytes, heard: list[float]) -> None:
    """Give the agent what the launcher sends after some bytes, and its end."""
    with contextlib.suppress(OSError):
        while True:
            view = memoryview(data)
            while view:
                view = view[os.write(pipe.fileno(), view) :]
            data = connection.recv(_BYTES)
            heard[0] = time.monotonic()
            if not data:
                break
    with contextlib.suppress(OSError):
        pipe.close()


def _found(about: dict[str, object], node: int) -> socket.socket | None:
    """Return a connection to the launcher; None if nobody who listens there is."""
    who = {"node": node, "environ": {name: os.environ[name] for name in OWN_VARIABLES if name in os.environ}}
    deadline = time.monotonic() + _LOOK_S
    while time.monotonic() < deadline:
        for place in _places(about):
            with contextlib.suppress(OSError, ValueError):
                connection = socket.create_connection(place, timeout=_CONNECT_S)
                if introduce(connection, str(about["secret"]), who):
                    connection.settimeout(None)
                    keep_alive(connection)
                    return connection
                connection.close()
        time.sleep(_PAUSE_S)
    return None


def _places(about: dict[str, object]) -> list[tuple[str, int]]:
    addresses, port = about["addresses"], about["port"]
    assert isinstance(addresses, list) and isinstance(port, int)
    return [(address, port) for address in addresses]


def introduce(connection: socket.socket, secret: str, who: dict[str, object]) -> bool:
    """Say who this is; return whether the other side is the launcher."""
    line, answer = introduction.hello(secret, _line(connection), who)
    connection.sendall(line.encode())
    return _line(connection) == answer


def _line(connection: socket.socket) -> str:
    """Return the next line, and leave what follows it."""
    text = b""
    while not text.endswith(b"\n") and len(text) < introduction.MOST:
        byte = connection.recv(1)
        if not byte:
            break
        text += byte
    return text.decode(errors="replace").strip()


def keep_alive(connection: socket.socket) -> None:
    """Let the system end a connection whose other host has been silent for eight seconds."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 2), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]) if len(sys.argv) == 3 else int(Exit.USAGE))
