from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobkit.agent.events import Done, Event, Output
from jobkit.agent.request import Request
from jobkit.remote import called, outpost
from jobkit.remote.called import CalledCrew
from jobkit.remote.exchange import Exchange
from jobkit.remote.places import Place

DEADLINE_S = 60.0


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    one = Exchange()
    yield one
    one.close()


def about(exchange: Exchange, **more: Any) -> dict[str, Any]:
    common = {"node": 1, "slots": 2, "package": None, "inherit": True, "secrets": {"TOKEN": "s3cret"}}
    return {**exchange.about(""), **common, **more}


def posted(exchange: Exchange, **more: Any) -> subprocess.Popen[bytes]:
    """Start an outpost; return it when it has called."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "jobkit.remote.outpost"]
    environ = {**os.environ, "OF_LOGIN": "yes", "SLURM_JOB_ID": "1"}
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environ)
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(about(exchange, **more)).encode())
    process.stdin.close()
    process.stdin = None
    process.stdout.read(1)
    return process


def crew(exchange: Exchange, folder: Path, program: str, **environ: str) -> CalledCrew:
    command = ("sh", "-c", program)
    request = Request(
        "a", "a", 1, "/", "pipe", 0, 1, 2, 0, 2, command, ("none",), 1, sys.executable, "/",
        {**os.environ, **environ}, (), {"TOKEN": "s3cret", "A": "b"}, "none", None, None, None, grace_s=1.0,
    )  # fmt: skip
    places = [
        Place(f"h{n}", (n,), sys.executable, None, str(folder / str(n)), "/usr", f"n{n}") for n in (0, 1)
    ]
    return CalledCrew(request, places, None, exchange, ("TOKEN",))


def ended(one: CalledCrew) -> list[Event]:
    found: list[Event] = []
    deadline = time.monotonic() + DEADLINE_S
    with one:
        while not (found and isinstance(found[-1], Done)):
            assert time.monotonic() < deadline, found
            select.select([one], [], [], 0.2)
            one.ping()
            found += one.receive()
    return found


def written(found: list[Event], rank: int) -> bytes:
    return b"".join(event.data for event in found if isinstance(event, Output) and event.rank == rank)


def test_ranks_start_from_what_their_own_host_has(exchange: Exchange, tmp_path: Path) -> None:
    process = posted(exchange)
    program = "echo $JOBKIT_RANK $PWD $JOBKIT_RUN_DIR ${OF_LOGIN-none} ${SLURM_JOB_ID-none} $TOKEN $A"
    for _ in range(2):  # it calls again for a second attempt
        found = ended(crew(exchange, tmp_path, program, OF_LOGIN="first"))
        assert written(found, 0).decode() == f"0 /usr {tmp_path}/0 first none s3cret b\n"
        assert written(found, 1).decode() == f"1 /usr {tmp_path}/1 yes none s3cret b\n"
        assert found[-1] == Done(None, 0)
    exchange.close()
    _, error = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, error) == (0, b"")


def test_secrets_do_not_cross_the_network(exchange: Exchange, tmp_path: Path, monkeypatch) -> None:
    process = posted(exchange)
    sent = []
    monkeypatch.setattr(CalledCrew, "_send", lambda _, member, data: sent.append((member.node, data)))
    with crew(exchange, tmp_path, "true") as one:
        deadline = time.monotonic() + DEADLINE_S
        while len(sent) < 2:
            assert time.monotonic() < deadline
            select.select([one], [], [], 0.2)
            one.receive()
    assert [b"s3cret" in data for _, data in sorted(sent)[:2]] == [True, False]
    exchange.close()
    process.communicate(timeout=DEADLINE_S)


def test_a_host_that_does_not_call_is_told(exchange: Exchange, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(called, "WAIT_S", 0.2)
    found = ended(crew(exchange, tmp_path, "true"))
    assert getattr(found[0], "message", "") == "h1: has not called within 0 s"
    assert found[-1] == Done(None, 125)


def test_a_keeper_that_nobody_reaches_is_told(exchange: Exchange, monkeypatch, capfd) -> None:
    monkeypatch.setattr(outpost, "_FIRST_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    one = outpost.Outpost(about(exchange, addresses=["127.0.0.1"], port=port))
    assert not one.serve(os.dup(1))
    assert "Connection refused" in one.last


def test_who_answers_and_is_not_the_keeper_is_not_listened_to(exchange: Exchange, monkeypatch) -> None:
    monkeypatch.setattr(outpost, "_FIRST_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def strange() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"nonce\n")
                connection.recv(1000)
                connection.sendall(b"no code\n")

        threading.Thread(target=strange, daemon=True).start()
        one = outpost.Outpost(about(exchange, addresses=["127.0.0.1"], port=server.getsockname()[1]))
        monkeypatch.setattr(outpost, "_CONNECT_S", 0.3)
        assert one._call(0.5) is None
