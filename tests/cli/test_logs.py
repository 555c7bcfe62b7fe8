from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.jobs import find, truth

Jobkit = Callable[..., Any]
Spec = Callable[..., str]
Started = Callable[..., "subprocess.Popen[str]"]
Until = Callable[..., None]

BOTH = "run: [bash, -c, 'echo out $JOBKIT_RANK; echo err $JOBKIT_RANK >&2']\nranks: 2\nbackend: none\n"


@pytest.fixture
def both(jobkit: Jobkit, spec: Spec) -> str:
    jobkit("submit", spec(BOTH), "--wait", "--id", "a")
    return "a"


def test_each_stream_of_the_ranks_goes_to_the_same_of_ours(jobkit: Jobkit, both: str) -> None:
    done = jobkit("logs", both)
    assert (done.status, done.out, done.err) == (0, "[0] out 0\n[1] out 1\n", "[0] err 0\n[1] err 1\n")


def test_one_rank_has_no_prefix(jobkit: Jobkit, both: str) -> None:
    done = jobkit("logs", both, "--rank", "1")
    assert (done.out, done.err) == ("out 1\n", "err 1\n")


def test_standard_error_alone_goes_to_standard_output(jobkit: Jobkit, both: str) -> None:
    done = jobkit("logs", both, "--stderr", "--rank", "0")
    assert (done.out, done.err) == ("err 0\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rank", "2"], "--rank: no such rank, got 2, expected 0 to 1"),
        (["--rank", "-1"], "--rank: no such rank"),
        (["--attempt", "2"], "--attempt: no such attempt, got 2, expected 1 to 1"),
    ],
)
def test_what_a_job_does_not_have_is_refused(
    words: list[str], message: str, jobkit: Jobkit, both: str
) -> None:
    done = jobkit("logs", both, *words)
    assert (done.status, done.out) == (2, "")
    assert message in done.err


def test_attempts_and_points_have_their_own_logs(jobkit: Jobkit, spec: Spec) -> None:
    text = "run: [bash, -c, 'echo ${{ sweep.p }} $JOBKIT_ATTEMPT; test $JOBKIT_ATTEMPT = 2']\nbackend: none\n"
    jobkit("submit", spec(text + "retries: {failed: 1}\nsweep: {p: [x, y]}\n"), "--wait", "--id", "a")
    assert jobkit("logs", "a/1").out == "y 2\n"
    assert jobkit("logs", "a/1", "--attempt", "1").out == "y 1\n"
    assert jobkit("logs", "a").out == "[0] x 2\n[1] y 2\n"


def test_bytes_that_are_no_text_pass_unchanged(spec: Spec, jobkit: Jobkit, started: Started) -> None:
    jobkit("submit", spec("run: [printf, '\\377\\000x']\nbackend: none\n"), "--wait", "--id", "a")
    done = subprocess.run([sys.executable, "-m", "jobkit", "logs", "a"], capture_output=True)
    assert done.stdout == b"\xff\x00x"


def test_following_ends_with_the_job(spec: Spec, jobkit: Jobkit, started: Started, work: Path) -> None:
    text = f"run: [bash, -c, 'echo one; while [ ! -e {work}/go ]; do sleep 0.02; done; echo two; exit 7']\n"
    jobkit("submit", spec(text + "backend: none\n"), "--id", "a")
    one = started("logs", "a", "--follow")
    assert one.stdout is not None
    assert one.stdout.readline() == "one\n"
    (work / "go").touch()
    out, _ = one.communicate(timeout=60)
    assert (out, one.returncode) == ("two\n", 0)


def test_interrupting_the_following_leaves_the_job_running(
    spec: Spec, jobkit: Jobkit, started: Started, until: Until
) -> None:
    jobkit("submit", spec("run: [bash, -c, 'echo on; sleep 600']\nbackend: none\n"), "--id", "a")
    one = started("logs", "a", "--follow")
    assert one.stdout is not None
    assert one.stdout.readline() == "on\n"
    one.send_signal(signal.SIGINT)
    one.communicate(timeout=60)
    assert one.returncode == 130
    until(lambda: truth.look(find.one("a", os.environ).folder).state == "running")


def test_a_reader_that_leaves_is_no_error(jobkit: Jobkit, spec: Spec) -> None:
    jobkit("submit", spec("run: bash -c 'yes | head -100000'\nbackend: none\n"), "--wait", "--id", "a")
    command = f"{sys.executable} -m jobkit logs a | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("y\n0\n", "")


def test_the_output_of_another_launchers_ranks_is_not_here(jobkit: Jobkit, foreign: str) -> None:
    done = jobkit("logs", foreign)
    assert (done.status, done.out) == (2, "")
    assert "was started by another launcher, which has its ranks' output\n\nhint: jobkit status" in done.err
