"""Say what a rank would find on this host, and whether it reaches the others."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import frames

_TOKEN_BYTES = 32
_PING = b"jobkit.."
_PINGS = 20
_CONNECT_S = 3.0
_IDLE_S = 20.0
_AT_ONCE = 32
_LIFE_S = 600  # of a process whose connection has gone silent
_DEVICES_S = 20
_INFINIBAND = Path("/sys/class/infiniband")


def look(addresses: Sequence[str], ports: Sequence[int], devices: Sequence[str]) -> dict[str, Any]:
    """Return what is true of this host alone.

    Args:
        addresses: At which the others are to reach it.
        ports: That ranks would listen on at each of them.
        devices: RDMA devices that ranks would use.
    """
    return {
        "python": platform.python_version(),
        "program": sys.executable,
        "jobkit": _jobkit(),
        "mlx": _mlx(),
        "taken": [port for port in ports if any(_is_taken(address, port) for address in addresses or [""])],
        "devices": {name: wrong for name in devices if (wrong := _wrong_device(name))},
        "bridge": _bridge() if devices and sys.platform == "darwin" else "",
    }


def _jobkit() -> str | None:
    try:
        from jobkit import __version__
    except ImportError:
        return None
    return __version__


def _mlx() -> str | None:
    try:
        return importlib.metadata.version("mlx")
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_taken(address: str, port: int) -> bool:
    """Say whether nobody could listen there because somebody does."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError:
            return not _is_foreign(address)
    return False


def _is_foreign(address: str) -> bool:
    """Say whether an address is none of this host."""
    try:
        _listener(address).close()
    except OSError:
        return True
    return False


def _wrong_device(name: str) -> str:
    """Return what is wrong with an RDMA device; "" if nothing is."""
    if sys.platform == "darwin":
        listed = subprocess.run(
            ["ibv_devices"], capture_output=True, text=True, timeout=_DEVICES_S, check=False
        )
        return "" if re.search(rf"\b{re.escape(name)}\b", listed.stdout) else "is not there"
    if not (_INFINIBAND / name).is_dir():
        return "is not there"
    states = [
        path.read_text().partition(": ")[2].strip() for path in (_INFINIBAND / name).glob("ports/*/state")
    ]
    return "" if "ACTIVE" in states else f"is {' '.join(states) or 'without a port'}"


def _bridge() -> str:
    """Return the bridge of the Thunderbolt ports if it is up; "" if not."""
    shown = subprocess.run(
        ["ifconfig", "bridge0"], capture_output=True, text=True, timeout=_DEVICES_S, check=False
    )
    return "bridge0" if re.match(r"bridge0: .*[<,]UP[,>]", shown.stdout) else ""


def _listener(address: str) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.bind((address, 0))
        found.listen(1024)
    except OSError:
        found.close()
        raise
    return found


def listen(addresses: Sequence[str], token: bytes) -> dict[str, Any]:
    """Answer whoever connects and knows the token; return the port at each address, or why there is none."""
    found: dict[str, Any] = {}
    for address in addresses:
        try:
            listener = _listener(address)
        except OSError as error:
            found[address] = f"is not one of its own ({error.strerror})"
            continue
        found[address] = listener.getsockname()[1]
        threading.Thread(target=_accept, args=(listener, token), daemon=True).start()
    return found


def _accept(listener: socket.socket, token: bytes) -> None:
    while True:
        with contextlib.suppress(OSError):
            caller, _ = listener.accept()
            threading.Thread(target=_answer, args=(caller, token), daemon=True).start()


def _answer(caller: socket.socket, token: bytes) -> None:
    with caller, contextlib.suppress(OSError):
        caller.settimeout(_IDLE_S)
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if _received(caller, _TOKEN_BYTES) != token:
            return
        caller.sendall(_PING)
        while data := caller.recv(len(_PING)):
            caller.sendall(data)


def _received(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data


def reach(others: Sequence[Sequence[Any]], token: bytes) -> list[Any]:
    """Return for each address and port the fastest round trip in microseconds, or why there is none."""
    found: list[Any] = [None] * len(others)
    waiting = list(range(len(others)))[::-1]

    def work() -> None:
        with contextlib.suppress(IndexError):
            while True:
                place = waiting.pop()
                address, port = others[place]
                found[place] = _round_trip(address, port, token)

    threads = [threading.Thread(target=work) for _ in range(min(_AT_ONCE, len(others)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _round_trip(address: str, port: int, token: bytes) -> float | str:
    try:
        with socket.create_connection((address, port), timeout=_CONNECT_S) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(token)
            if _received(connection, len(_PING)) != _PING:
                return "somebody else answers"
            times = []
            for _ in range(_PINGS):
                start = time.perf_counter()
                connection.sendall(_PING)
                if len(_received(connection, len(_PING))) < len(_PING):
                    return "hangs up"
                times.append(time.perf_counter() - start)
            return round(min(times) * 1e6, 1)
    except TimeoutError:
        return f"no answer in {_CONNECT_S:.0f} s"
    except OSError as error:
        return error.strerror or str(error)


def serve(source: Any, out: Any, token: bytes) -> None:
    """Answer until nobody asks any more."""
    with contextlib.suppress(EOFError):
        while True:
            head, _ = frames.read(source)
            answer = {"found": reach(head["others"], token)} if "others" in head else {"time": time.time()}
            out.write(frames.packed(answer))
            out.flush()


def main(
    marker: str, addresses: Sequence[str], ports: Sequence[int], devices: Sequence[str], token: str
) -> None:
    """Answer on standard output; what is written before the marker is a login shell's.

    Args:
        marker: The line that the answers follow.
        addresses: As for `look`.
        ports: As for `look`.
        devices: As for `look`.
        token: What the others' programs know.
    """
    signal.alarm(_LIFE_S)
    os.chdir("/")
    found = look(addresses, ports, devices)
    found["listens"] = listen(addresses, token.encode())
    out = sys.stdout.buffer
    with contextlib.suppress(BrokenPipeError):
        out.write(f"\n{marker}\n".encode() + frames.packed(found))
        out.flush()
        serve(sys.stdin.buffer, out, token.encode())
    os._exit(0)
