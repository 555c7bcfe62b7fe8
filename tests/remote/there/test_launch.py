from __future__ import annotations

import sys
from pathlib import Path

import pytest

import jobkit
from jobkit.remote.there.launch import look, needs_python


def test_a_host_says_where_it_was_reached_and_what_it_has(tmp_path: Path) -> None:
    environ = {"SSH_CONNECTION": "10.0.0.9 50022 10.0.0.1 22", "A": "b"}
    found = look(environ, sys.executable, str(tmp_path), False, ["true"])
    assert (found["client"], found["address"]) == ("10.0.0.9", "10.0.0.1")
    assert (found["jobkit"], found["environ"]) == (jobkit.__version__, environ)
    assert found["workdir"] == str(tmp_path)
    assert look({}, sys.executable, "/", False, ["true"])["address"] == ""


def test_a_folder_that_is_not_there_means_the_logins_own_unless_it_was_asked_for() -> None:
    own = look({}, sys.executable, "/no/such", False, ["true"])
    assert (own["workdir"], own["has_workdir"]) == (str(Path.cwd()), True)
    asked = look({}, sys.executable, "/no/such", True, ["true"])
    assert (asked["workdir"], asked["has_workdir"]) == ("/no/such", False)


def test_an_interpreter_without_jobkit_has_none(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o755)
    assert look({}, str(bare), "/", False, ["true"])["jobkit"] is None


@pytest.mark.parametrize(
    ("word", "mode", "needs"),
    [
        ("a.py", 0o644, True),
        ("a.py", 0o755, True),
        ("./a.py", 0o644, True),
        ("./a.py", 0o755, False),
        ("gone.py", 0o644, False),
        ("a", 0o644, False),
    ],
)
def test_a_python_file_that_cannot_be_run_as_it_stands_needs_python(
    tmp_path: Path, word: str, mode: int, needs: bool
) -> None:
    (tmp_path / "a.py").touch()
    (tmp_path / "a.py").chmod(mode)
    assert needs_python([word], str(tmp_path)) == needs
