from __future__ import annotations

import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobkit.slurm import shared
from jobkit.slurm.shared import Told


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.json"


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_known", {})


def asking(out: str | None = "yes") -> tuple[list[float], Callable[[], Told]]:
    """Return a question, and the list that grows when it is put."""
    asked: list[float] = []

    def question() -> Told:
        asked.append(time.time())
        return Told(asked[-1], out, "" if out else "no")

    return asked, question


def test_an_answer_serves_all_for_a_while(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "FRESH_S", 1000.0)
    asked, question = asking()
    shared.ask(path, question)
    monkeypatch.setattr(shared, "_known", {})  # as another process finds it
    assert shared.ask(path, question) == Told(asked[0], "yes")
    assert len(asked) == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_question_without_an_answer_is_not_put_again_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "FRESH_S", 1000.0)
    asked, question = asking(None)
    assert {shared.ask(path, question).wrong for _ in range(3)} == {"no"}
    assert len(asked) == 1


def test_an_answer_that_is_too_old_is_passed_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "FRESH_S", 0.0)
    asked, question = asking()
    shared.ask(path, question)
    shared.ask(path, question)
    assert len(asked) == 2


def test_who_needs_a_newer_answer_waits_for_the_next_question(path: Path) -> None:
    asked, question = asking()
    shared.ask(path, question)
    now = time.time()
    assert shared.ask(path, question, after=now).moment >= now
    assert asked[1] - asked[0] >= shared.FRESH_S


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{",
        b'{"moment": 1, "out": "old", "wrong": ""}',
        b'{"moment": 1e18, "out": "of the future", "wrong": ""}',
        b'{"moment": "x", "out": "a", "wrong": ""}',
        pytest.param(
            json.dumps({"moment": time.time() + 1e6, "out": 7, "wrong": ""}).encode(), id="a number"
        ),
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_passed_over(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    asked, question = asking()
    assert shared.ask(path, question).out == "yes"
    assert len(asked) == 1


def test_where_nothing_can_be_kept_a_process_asks_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "FRESH_S", 1000.0)
    asked, question = asking()
    answers = [shared.ask(tmp_path / "no" / "folder", question) for _ in range(3)]
    assert [told.out for told in answers] == ["yes"] * 3
    assert len(asked) == 1


def test_who_is_stopped_in_the_middle_does_not_block_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "PATIENCE_S", 0.1)
    fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    asked, question = asking()
    assert shared.ask(path, question).out == "yes"
    assert len(asked) == 1
    os.close(fd)


_ASKER = """
import sys, time
from pathlib import Path
from jobkit.slurm import shared
path, log, hangs = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "hangs"
def question():
    with open(log, "a") as file:
        print(time.time(), file=file)
    if hangs:
        time.sleep(600)
    return shared.Told(time.time(), "yes")
for _ in range(20):
    shared.ask(path, question)
    time.sleep(0.1)
"""


def asker(path: Path, log: Path, how: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _ASKER, str(path), str(log), how])


def test_an_asker_that_is_killed_does_not_block_others(
    path: Path, tmp_path: Path, wait: Callable[..., object]
) -> None:
    log = tmp_path / "log"
    first = asker(path, log, "hangs")
    assert wait(lambda: log.exists() and log.read_text())
    first.send_signal(signal.SIGKILL)
    first.wait()
    asked, question = asking()
    assert shared.ask(path, question).out == "yes"
    assert len(asked) == 1


def test_many_processes_ask_once_a_second(path: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    askers = [asker(path, log, "answers") for _ in range(4)]
    assert [child.wait(60) for child in askers] == [0] * 4
    moments = sorted(map(float, log.read_text().split()))
    assert len(moments) >= 2
    assert all(late - early >= shared.FRESH_S for early, late in itertools.pairwise(moments))
