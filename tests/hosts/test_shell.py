"""Commands through a shell of this machine."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobkit.errors import SubmitError
from jobkit.hosts import shell
from jobkit.remote.connection import LostError


@pytest.fixture
def here() -> Iterator[shell.Shell]:
    found = shell.start("here", is_here=True)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("command", "status", "text", "words"),
    [
        ("true", 0, "", ""),
        ("printf 'a b'", 0, "a b", ""),
        ("printf 'a\\n\\nb\\n'", 0, "a\n\nb\n", ""),
        ("echo out; echo first >&2; echo 'last one' >&2; exit 3", 3, "out\n", "last one"),
        ("echo \"$1'\" '\\'", 0, "' \\\n", ""),
        ("cat", 0, "", ""),
        ("head -c 300000 /dev/zero | tr '\\0' x", 0, "x" * 300_000, ""),
        ("printf '\\377'", 0, "\ufffd", ""),
        ("printf 'a\\033[2Jb' >&2", 0, "", "a?[2Jb"),
    ],
)
def test_what_a_command_does(here: shell.Shell, command: str, status: int, text: str, words: str) -> None:
    assert here.run(command) == shell.Output(status, text, words)
    assert here.run("echo on").text == "on\n"


def test_why_a_command_failed(here: shell.Shell) -> None:
    assert here.run("exit 7").why == "status 7"
    assert "no-such-program" in here.run("no-such-program").why


@pytest.mark.parametrize("tool", ["timeout", "perl"])
def test_a_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    for name in (tool, "sleep", "tail"):
        if (path := shutil.which(name)) is None:
            pytest.skip(f"{name} is missing")
        (tmp_path / name).symlink_to(path)
    monkeypatch.setenv("PATH", str(tmp_path))
    here = shell.start("here", is_here=True)

    assert here.run("sleep 600", seconds=1).status != 0
    assert here.run("echo on").text == "on\n"
    here.close()


def test_output_without_end_is_refused(here: shell.Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_MOST", 1000)
    with pytest.raises(SubmitError, match="here: a command there prints without end"):
        here.run("yes | head -n 2000")


def test_a_shell_that_is_gone(here: shell.Shell) -> None:
    os.kill(int(here.run("echo $PARENT").text), signal.SIGKILL)
    with pytest.raises(LostError, match=r"here: (its shell has ended|the connection broke)"):
        here.run("true")
