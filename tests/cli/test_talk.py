"""Talk goes to stderr, plain unless a terminal is there to show colour."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jobkit.cli import talk


def test_talk_in_a_pipe_is_plain(capfd: pytest.CaptureFixture[str]) -> None:
    talk.say("queued")
    talk.warn("slow")
    talk.error("broken")

    out, err = capfd.readouterr()
    assert out == ""
    assert err == "queued\njobkit: warning: slow\njobkit: error: broken\n"


def test_talk_on_a_terminal_is_coloured_unless_no_color_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    talk.error("broken")
    assert "\x1b[31m" in capfd.readouterr().err

    monkeypatch.setenv("NO_COLOR", "1")
    talk.error("broken")
    assert capfd.readouterr().err == "jobkit: error: broken\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("launch", "-n", "2", "--backend", "none", "--", "sh", "-c", "sleep .3; exit 6"), 6),
        (("launch", "--cwd", "/nowhere", "--", "true"), 125),
        (("launch", "-n", "0", "--", "true"), 2),
        (("wait", "nothing"), 2),
    ],
)
def test_the_status_is_the_same_where_nobody_reads(words: tuple[str, ...], status: int) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        command = (sys.executable, "-m", "jobkit", *words)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=write, stderr=write, timeout=120)
    finally:
        os.close(write)
    assert done.returncode == status
