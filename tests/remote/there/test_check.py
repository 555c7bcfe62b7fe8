"""What a host says about itself, and whether it reaches another; all over loopback."""

from __future__ import annotations

import io
import platform
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from jobkit import __version__
from jobkit.remote.there import check, frames

HOME = "127.0.0.1"
FOREIGN = "192.0.2.55"  # of a network for documentation
TOKEN = b"t" * 32


@pytest.fixture
def port() -> int:
    """Where somebody answers who knows the token."""
    found: int = check.listen([HOME], TOKEN)[HOME]
    return found


def test_versions_and_nothing_wrong() -> None:
    found = check.look([HOME], [], [])

    assert (found["python"], found["jobkit"]) == (platform.python_version(), __version__)
    assert (found["taken"], found["devices"], found["bridge"]) == ([], {}, "")


def test_ports_that_are_taken() -> None:
    with socket.socket() as busy, socket.socket() as free:
        busy.bind((HOME, 0))
        busy.listen()
        free.bind((HOME, 0))
        numbers = [one.getsockname()[1] for one in (busy, free)]
        free.close()
        assert check.look([HOME], numbers, [])["taken"] == numbers[:1]
        assert check.look([FOREIGN], numbers, [])["taken"] == []


def test_devices_that_are_not_there_or_not_active(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_INFINIBAND", tmp_path)
    monkeypatch.setattr(check.sys, "platform", "linux")
    for name, state in (("up", "4: ACTIVE\n"), ("down", "1: DOWN\n")):
        (tmp_path / name / "ports" / "1").mkdir(parents=True)
        (tmp_path / name / "ports" / "1" / "state").write_text(state)

    found = check.look([], [], ["up", "down", "none"])

    assert found["devices"] == {"down": "is DOWN", "none": "is not there"}


@pytest.mark.parametrize(("flags", "bridge"), [("UP,BROADCAST", "bridge0"), ("BROADCAST", "")])
def test_a_macs_devices_and_bridge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, bridge: str
) -> None:
    monkeypatch.setattr(check.sys, "platform", "darwin")
    for name, text in (
        ("ibv_devices", "rdma_en2 1"),
        ("ifconfig", f"bridge0: flags=8863<{flags},SIMPLEX> mtu 1"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{text}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    found = check.look([], [], ["rdma_en2", "rdma_en22"])

    assert (found["devices"], found["bridge"]) == ({"rdma_en22": "is not there"}, bridge)


def test_an_address_of_another_host_is_told() -> None:
    assert "is not one of its own (" in check.listen([FOREIGN], TOKEN)[FOREIGN]


def test_round_trips_in_the_order_asked(port: int) -> None:
    with socket.socket() as closed:
        closed.bind((HOME, 0))
        nobody = closed.getsockname()[1]
        found = check.reach([[HOME, port], [HOME, nobody], *[[HOME, port]] * 50], TOKEN)

    assert found[1] == "Connection refused"
    assert all(isinstance(cell, float) and cell > 0 for cell in found[:1] + found[2:])
    assert check.reach([], TOKEN) == []


def test_who_does_not_know_the_token_gets_no_answer(port: int) -> None:
    assert check.reach([[HOME, port]], b"x" * 32) == ["somebody else answers"]


def test_somebody_else_is_no_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_CONNECT_S", 0.2)
    with socket.socket() as silent:
        silent.bind((HOME, 0))
        silent.listen()
        assert check.reach([[HOME, silent.getsockname()[1]]], TOKEN) == ["no answer in 0 s"]


def test_what_is_asked_is_answered_until_nobody_asks(port: int) -> None:
    asked: Any = io.BytesIO(frames.packed({}) + frames.packed({"others": [[HOME, port]]}))
    out = io.BytesIO()

    check.serve(asked, out, TOKEN)

    out.seek(0)
    source: Any = out
    assert frames.read(source)[0]["time"] > 1e9
    assert len(frames.read(source)[0]["found"]) == 1
    assert threading.active_count() < 100
