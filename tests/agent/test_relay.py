from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobkit.agent import introduction

SECRET = "ab" * 32
Relay = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Where the launcher would listen."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        yield listening


@pytest.fixture
def relay(tmp_path: Path, server: socket.socket) -> Iterator[Relay]:
    """Start a relay that looks for the launcher."""
    file, started = tmp_path / "launch.json", []
    about = {"addresses": ["127.0.0.1"], "port": server.getsockname()[1], "secret": SECRET}
    file.write_text(json.dumps(about))

    def start(node: str, **more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "jobkit.agent.relay", str(file), node]
        started.append(subprocess.Popen(command, env={**os.environ, **more}))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def introduced(connection: socket.socket, secret: str = SECRET) -> tuple[dict[str, object], str] | None:
    """Take a relay's word as the launcher does; return what it says, and the answer."""
    nonce = introduction.nonce()
    connection.sendall(f"{nonce}\n".encode())
    with connection.makefile() as lines:
        return introduction.heard(secret, nonce, lines.readline())


def test_it_says_which_host_it_is_and_what_is_true_there_alone(relay: Relay, server: socket.socket) -> None:
    process = relay("SLURM_NODEID", SLURM_NODEID="3", CUDA_VISIBLE_DEVICES="2,3", PRIVATE="x")
    connection, _ = server.accept()
    with connection:
        known = introduced(connection)
        assert known is not None
        who, answer = known
        assert (who["node"], "PRIVATE" in str(who)) == (3, False)
        assert dict(who["environ"]).items() >= {"CUDA_VISIBLE_DEVICES": "2,3"}.items()  # type: ignore[call-overload]
        connection.sendall(f"{answer}\n".encode())
    # A launcher that goes without having asked for anything.
    assert process.wait(60) == 0


def test_a_listener_without_the_secret_is_left_alone(relay: Relay, server: socket.socket) -> None:
    relay("0")
    for _ in range(2):
        connection, _ = server.accept()
        with connection:
            known = introduced(connection)
            assert known is not None
            connection.sendall(b"f" * 64 + b"\n")
            assert connection.recv(1) == b""
