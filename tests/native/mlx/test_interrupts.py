"""Ctrl-C ends a wait of MLX."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlx.core as mx

from jobkit.native.mlx import interrupts


def wait_until_running(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == line
    time.sleep(0.3)  # from there to the wait itself


PROGRAM = """
import mlx.core as mx
from jobkit.native.mlx import install
install()
world = mx.distributed.init(strict=True)
mx.eval(mx.distributed.all_sum(mx.ones(3)))
if world.rank() == 1:
    import time
    time.sleep(60)
print("waiting", flush=True)
try:
    try:
        mx.eval(mx.distributed.all_sum(mx.ones(3)))
    except RuntimeError as error:
        print("error:", error, flush=True)
    for _ in range(1000): pass
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_a_wait_for_a_peer(tmp_path: Path, ring_hostfile: Any) -> None:
    file = ring_hostfile(2)
    environs = [{**os.environ, "MLX_RANK": str(rank), "MLX_HOSTFILE": str(file)} for rank in range(2)]
    command = [sys.executable, "-c", PROGRAM]
    first, second = (subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) for environ in environs)
    try:
        wait_until_running(first, b"waiting\n")
        first.send_signal(signal.SIGINT)
        said, _ = first.communicate(timeout=20)
        assert b"interrupted\n" in said
        assert first.returncode == 0
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()


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
