from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path

import pytest

from jobkit.cli import watching
from jobkit.jobs import process, record
from jobkit.jobs.find import Found
from jobkit.jobs.record import JobExit, Origin, Record, TaskRecord


@pytest.fixture
def known() -> Record:
    me = process.identify(os.getpid())
    assert me is not None
    origin = Origin((), "/", "a.yaml", None, None, (), (), "0", None, me)
    exit_ = JobExit(127, 0, "h", None, "not found")
    task = TaskRecord(
        None, {}, "failed", "rank 0: /nowhere: not found", 1, exit_, ended="2026-11-22T10:15:31Z"
    )
    return record.settled(Record("a", "a", "local", "failed", "2026-11-22T10:15:30Z", (task,), origin))


def test_a_failure_is_told_with_its_reason_and_where_the_logs_are(
    known: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watching.report_failures(Found("a", tmp_path), known)
    out, err = capsys.readouterr()
    assert out == ""
    first, hint, last = err.splitlines()
    assert first == "jobkit: error: a failed: rank 0: /nowhere: not found"
    assert hint.startswith("hint: a name is looked for on PATH")
    assert last == f"logs: {tmp_path}/attempt-1"


def test_of_many_points_that_failed_the_first_are_told(
    known: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = tuple(dataclasses.replace(known.tasks[0], point=str(index)) for index in range(1000))
    watching.report_failures(Found("a", tmp_path), dataclasses.replace(known, tasks=tasks))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) < 50
    assert lines[-1] == "and 990 more points that did not succeed: jobkit status a"


def test_the_end_of_a_job_that_has_ended_is_told_at_once(
    known: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record.write(tmp_path, known)
    assert watching.to_the_end([Found("a", tmp_path)], as_json=True) == 127
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["state", "ended"]


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_before_anything_was_submitted_cancels_nothing(
    signum: signal.Signals, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> int:
        signal.raise_signal(signum)
        return 0

    assert watching.owning([Found("a", tmp_path / "not-there")], body) == status
    assert capsys.readouterr().err == ""


def test_bytes_follow_text_in_the_order_of_writing(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    print("text", end=" ")
    watching.to_stream("out")(b"\xff\n")
    assert capfdbinary.readouterr().out == b"text \xff\n"
