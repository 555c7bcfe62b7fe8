"""Ctrl-C ends a wait of MLX."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from jobkit.native.mlx import interrupts


@pytest.fixture
def interrupted(tmp_path: Path, ring_hostfile: Any) -> Iterator[Callable[[str], tuple[int, str, str]]]:
    """Runs a program on two ranks, interrupts rank 0 in its wait for rank 1; returns status and output."""
    file, started = ring_hostfile(2), []

    def run(program: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "jobkit.native", "-c", program]
        for rank in range(2):
            environ = {**os.environ, "MLX_RANK": str(rank), "MLX_HOSTFILE": str(file)}
            started.append(subprocess.Popen(command, env=environ, stdout=-1, stderr=-1, text=True))
        first = started[0]
        assert first.stdout is not None
        assert first.stdout.readline() == "waiting\n"
        time.sleep(
            0.5
        )  # from there to the wait itself; an interrupt that comes before it ends the program too
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=30)
        return first.returncode, out, err

    yield run
    for process in started:
        process.kill()
        process.communicate()


WAIT = """
import time
import mlx.core as mx

world = mx.distributed.init(strict=True)
mx.eval(mx.distributed.all_sum(mx.ones(3)))
if world.rank() == 1:
    time.sleep(60)
print("waiting", flush=True)
"""
CATCH = """
try:
    try:
        mx.eval(mx.distributed.all_sum(mx.ones(3)))
    except RuntimeError as error:
        pass
    time.sleep(0)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_ends_a_wait_for_a_peer(interrupted: Any) -> None:
    assert interrupted(WAIT + CATCH) == (0, "interrupted\n", "")


def test_a_program_that_catches_nothing_dies_of_the_interrupt(interrupted: Any) -> None:
    status, _, said = interrupted(WAIT + "mx.eval(mx.distributed.all_sum(mx.ones(3)))")
    assert status == -signal.SIGINT
    assert said.splitlines()[-1] == "KeyboardInterrupt"


def test_a_signal_without_an_operation_aborts_nothing(pair: Any) -> None:
    def run(rank: Any) -> Any:
        try:
            os.kill(os.getpid(), 2)
            time.sleep(0.5)
        except KeyboardInterrupt:
            time.sleep(0.2)
        return mx.distributed.all_sum(mx.ones(2), group=rank.group).tolist()

    assert pair(run) == [[2, 2]] * 2


def test_a_program_that_handles_the_signal_is_left_alone(monkeypatch: Any) -> None:
    assert interrupts._raises_interrupt()
    monkeypatch.setattr(interrupts.signal, "getsignal", lambda _: print)
    assert not interrupts._raises_interrupt()
