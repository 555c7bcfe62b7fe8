from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.jobs import find, truth

Jobkit = Callable[..., Any]
Spec = Callable[..., str]
Started = Callable[..., "subprocess.Popen[str]"]


def test_the_status_is_the_jobs_also_afterwards(jobkit: Jobkit, spec: Spec) -> None:
    jobkit("submit", spec("run: bash -c 'exit 7'\nbackend: none\n"), "--id", "a")
    assert [jobkit("wait", "a").status for _ in range(2)] == [7, 7]


def test_a_point_has_its_own_status(jobkit: Jobkit, spec: Spec) -> None:
    text = "run: bash -c 'exit ${{ sweep.code }}'\nbackend: none\nsweep: {code: [0, 7]}\n"
    jobkit("submit", spec(text), "--id", "a")
    assert [jobkit("wait", job).status for job in ("a/0", "a/1", "a")] == [0, 7, 7]


def test_the_last_words_of_a_point_are_found(jobkit: Jobkit, spec: Spec, work: Path) -> None:
    text = "run: [bash, -c, 'echo words ${{ sweep.a }} >&2; exit 7']\nbackend: none\nsweep: {a: [x, y]}\n"
    jobkit("submit", spec(text), "--id", "a", "--wait")
    done = jobkit("wait", "a/1", "--junit", "report.xml")
    assert "  words y\n" in done.err
    assert "words y" in (work / "report.xml").read_text()
    assert "words y" in jobkit("status", "a/1").out


def test_events_are_lines_of_json(jobkit: Jobkit, spec: Spec) -> None:
    jobkit("submit", spec("run: 'true'\nbackend: none\n"), "--id", "a")
    events = jobkit("wait", "a", "--json").events
    assert (events[-1]["event"], events[-1]["state"]) == ("ended", "succeeded")


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)], ids=["INT", "TERM"]
)
def test_interrupting_the_waiting_leaves_the_job_running(
    signum: signal.Signals, status: int, jobkit: Jobkit, spec: Spec, started: Started
) -> None:
    jobkit("submit", spec("run: sleep 600\nbackend: none\n"), "--id", "a")
    one = started("wait", "a")
    assert one.stderr is not None
    assert one.stderr.readline().startswith("a: ")
    one.send_signal(signum)
    one.communicate(timeout=60)
    assert one.returncode == status
    assert truth.look(find.one("a", os.environ).folder).state in ("starting", "running")


def test_an_unknown_job_is_a_mistake(jobkit: Jobkit) -> None:
    assert jobkit("wait", "nothing").status == 2
