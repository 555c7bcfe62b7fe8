"""`jobkit bench` as its user sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobkit.cli import main

QUICK = ("--rounds", "1", "--seconds", "0.001")
WRONG = """
import os
import numpy as np
from peers.library import Call, Library

class Wrong(Library):
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    version = "wrong 1"
    def call(self, op, x, form):
        return Call(lambda: x + 1)

make = Wrong
"""


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    path = tmp_path / "wrong.py"
    path.write_text(WRONG)
    return str(path)


def test_a_pipe_gets_a_plain_table_and_stderr_the_talk(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--sizes", "8,64K", *QUICK]) == 0

    output = capsys.readouterr()
    head, small, large = output.out.splitlines()
    assert head.startswith("BYTES  COUNT")
    assert small.split()[:7] == ["8", "2", "float32", "all_sum", "2", "jobkit", "out"]
    assert large.endswith("%")
    assert "jobkit: jobkit" in output.err and "all_sum float32 2 ranks 64K" in output.err


def test_wrong_numbers_are_a_failure_and_the_best_peer_is_named(
    capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    assert main(["bench", "--sizes", "8", "--against", wrong, *QUICK]) == 1

    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[13] for row in rows[1:3]] == ["0", "4"]
    assert rows[5][5] == "wrong"


def test_json_is_a_line_for_each_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "broadcast", "--sizes", "8:32", "--json", "-n", "3", *QUICK]) == 0

    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["op"], one["ranks"], one["n_bytes"], one["wrong"]) for one in found] == [
        ("broadcast", 3, n, 0) for n in (8, 16, 32)
    ]


def test_markdown_is_for_documents(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--sizes", "8", "--markdown", *QUICK]) == 0

    assert capsys.readouterr().out.startswith("### all_sum, float32, 2 ranks, out\n\n| bytes | jobkit, µs |")


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    assert main(["bench", "--sizes", "8:64", "--plot", str(tmp_path / "a.svg"), *QUICK]) == 0
    assert "jobkit" in (tmp_path / "a.svg").read_text()


def test_without_jobkit_itself_there_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOBKIT_HEARTBEAT_S", "none")

    assert main(["bench", "--sizes", "8", *QUICK]) == 1
    assert "JOBKIT_HEARTBEAT_S: not a number of seconds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--json", "--markdown"], "--markdown: another form"),
        (["--sizes", "x"], "--sizes"),
        (["--plot", "a.pdf"], "--plot"),
        (["--against", "nccl"], "--against"),
    ],
)
def test_bad_usage_is_said_before_anything_starts(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words]) == 2

    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_measurement_that_is_told_to_end_leaves_nothing(
    tmp_path: Path, signum: signal.Signals, status: int
) -> None:
    busy = tmp_path / "busy.py"
    busy.write_text(WRONG.replace("return Call(lambda: x + 1)", f"""
        import pathlib, time
        pathlib.Path({str(tmp_path)!r}, f"pid-{{self.rank}}").write_text(str(os.getpid()))
        return Call(lambda: time.sleep(600))
"""))  # fmt: skip
    command = [sys.executable, "-m", "jobkit", "bench", "--sizes", "8", "--against", str(busy), *QUICK]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)}) as driver:
        while len(pids := [path.read_text() for path in tmp_path.glob("pid-*")]) < 2 or not all(pids):
            assert driver.poll() is None
            time.sleep(0.02)
        driver.send_signal(signum)
        assert driver.wait(60) == status

    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert list(tmp_path.glob("jobkit-bench-*")) == []


def test_moments_are_tables_lines_or_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--init", *QUICK]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["WHO", "RANKS"] and row.split()[:2] == ["jobkit", "2"]

    assert main(["bench", "--idle", "0.1", "--json", *QUICK]) == 0
    assert json.loads(capsys.readouterr().out)["measured"] == "waiting"

    assert main(["bench", "--idle", "0.1", "--markdown", *QUICK]) == 0
    assert capsys.readouterr().out.startswith("| WHO | RANKS | WAITED s |")
