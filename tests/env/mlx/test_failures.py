from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobkit import __version__
from jobkit.env.mlx.failures import hint


def test_a_ring_that_could_not_connect_is_explained_with_the_remedy() -> None:
    tail = b"Traceback (most recent call last):\nRuntimeError: [ring] Couldn't connect (error: 111)\n"
    assert "15 s" in hint(tail)
    assert "jobkit.native.barrier()" in hint(tail)
    assert "\n" not in hint(tail)


@pytest.mark.parametrize(
    "tail",
    [
        b"ModuleNotFoundError: No module named 'jobkit'",
        b"/usr/bin/python3: Error while finding module specification for 'jobkit.native' "
        b"(ModuleNotFoundError: No module named 'jobkit')",
        b"ImportError: No module named 'jobkit.native._core'",
    ],
)
def test_a_program_without_jobkit_gets_the_line_that_installs_it(tail: bytes) -> None:
    assert f"pip install jobkit=={__version__}" in hint(tail)


@pytest.mark.parametrize("tail", [b"", b"RuntimeError: [ring] connection to a peer was lost", b"\xff[ring]"])
def test_anything_else_is_left_alone(tail: bytes) -> None:
    assert hint(tail) == ""


# Rank 0 comes late to MLX's ring: rank 1 connects to it first, and waits up to 15 s for that.
LATE = """
import os, sys, time
import jobkit.native as dist
import mlx.core as mx
time.sleep(float(sys.argv[1]) if os.environ["JOBKIT_RANK"] == "0" else 0)
if sys.argv[2:]:
    dist.barrier()
group = mx.distributed.init(strict=True, backend="ring")
print(mx.distributed.all_sum(mx.array(1.0 + group.rank()), group=group).item())
"""


def late(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("mlx.core")
    program = tmp_path / "late.py"
    program.write_text(LATE)
    command = [sys.executable, "-m", "jobkit", "launch", "-n", "2", "--backend", "ring", "--"]
    return subprocess.run(
        [*command, sys.executable, str(program), *words], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_ranks_that_reach_mlx_s_ring_40_s_apart_fail_with_the_remedy(tmp_path: Path) -> None:
    ran = late(tmp_path, "40")
    assert ran.returncode == 1
    assert "[ring] Couldn't connect" in ran.stderr
    explained = hint(b"[ring] Couldn't connect")
    assert ran.stderr.endswith(f"hint: {explained}\n")


@pytest.mark.slow
def test_a_barrier_before_it_is_that_remedy(tmp_path: Path) -> None:
    ran = late(tmp_path, "40", "barrier")
    assert (ran.returncode, ran.stdout) == (0, "3.0\n3.0\n"), ran.stderr
