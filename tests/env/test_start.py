from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobkit.env.start import CommandError, become, enter, find
from jobkit.errors import LaunchError


@pytest.fixture(autouse=True)
def _sigpipe_stays_ignored() -> Iterator[None]:
    """Undo what Python does before an exec, also before one that fails."""
    yield
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def program(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_a_name_is_looked_for_in_path(tmp_path: Path) -> None:
    program(tmp_path / "a" / "train", 0o644)
    second = program(tmp_path / "b" / "train")
    assert find(("train",), {"PATH": f"{tmp_path}/a:{tmp_path}/b"}) == str(second)


def test_a_name_with_a_slash_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "train")
    monkeypatch.chdir(tmp_path)
    assert find(("./train",), {"PATH": "/bin"}) == "./train"


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("train", 127, "train: no such program; looked in /no/such, /neither"),
        ("./train", 127, "no such program; looked from "),
        ("/etc", 126, "is a folder"),
        ("/etc/passwd", 126, "is not executable"),
    ],
)
def test_what_cannot_be_run_has_its_status(name: str, status: int, message: str) -> None:
    with pytest.raises(CommandError, match=message) as caught:
        find((name,), {"PATH": "/no/such:/neither"})
    assert caught.value.exit_status == status


def test_a_file_that_path_has_without_an_x_bit_is_126(tmp_path: Path) -> None:
    program(tmp_path / "train", 0o644)
    with pytest.raises(CommandError) as caught:
        find(("train",), {"PATH": str(tmp_path)})
    assert caught.value.exit_status == 126


def test_a_program_of_this_folder_is_pointed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "train")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandError, match=r"hint: this folder has one: \./train"):
        find(("train",), {"PATH": "/bin"})


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(LaunchError, match="workdir /no/such: cannot be entered"):
        enter("/no/such")


def test_a_missing_interpreter_is_told_from_a_missing_program(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    with pytest.raises(CommandError, match="its interpreter"):
        become(str(path), ("script",), {})
    with pytest.raises(CommandError, match="no such program"):
        become(str(tmp_path / "gone"), ("gone",), {})


def test_the_process_becomes_the_program() -> None:
    pid = os.fork()
    if pid == 0:
        become(sys.executable, ("python", "-c", "import os; os._exit(int(os.environ['N']))"), {"N": "7"})
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
