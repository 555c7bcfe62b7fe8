"""Runs commands in a guest: lines of JSON come through a port, and answers go back the same way.

A line is {"id", "words", "cwd", "environ", "input"}, its answer {"id", "status", "out", "err"}. Commands run
beside each other. When the port is closed, so is the guest.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO


def answer(port: BinaryIO, lock: threading.Lock, asked: dict[str, Any]) -> None:
    """Run one command to its end, and tell of it."""
    try:
        done = subprocess.run(
            asked["words"],
            cwd=asked["cwd"],
            env=asked["environ"],
            input=asked["input"],
            capture_output=True,
            text=True,
            errors="replace",
        )
        told = {"status": done.returncode, "out": done.stdout, "err": done.stderr}
    except OSError as error:
        told = {"status": 127, "out": "", "err": str(error)}
    with lock:
        send(port, told | {"id": asked["id"]})


def send(port: BinaryIO, told: dict[str, Any]) -> None:
    """Write all of a line: a port may take only a part of it at once."""
    left = memoryview(json.dumps(told).encode() + b"\n")
    while left:
        left = left[port.write(left) :]


def main() -> None:
    """Serve until the port is closed."""
    with Path(sys.argv[1]).open("r+b", buffering=0) as port:
        lock = threading.Lock()
        send(port, {"id": 0})
        pending = b""
        while part := port.read(1 << 16):
            *lines, pending = (pending + part).split(b"\n")
            for line in lines:
                threading.Thread(target=answer, args=(port, lock, json.loads(line)), daemon=True).start()


if __name__ == "__main__":
    main()
