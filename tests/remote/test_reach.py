from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import jobkit
from jobkit.errors import SubmitError
from jobkit.remote import connection
from jobkit.remote.reach import Reached, reach


def reached(*pythons: str, cwd: str | None = None) -> Reached:
    """Reach a host, for a program that starts in the folder `cwd` if one is asked for."""
    asked = cwd is not None
    return reach("there", pythons or (sys.executable,), cwd or "/", is_asked_for=asked, words=("true",))


def test_the_other_end_becomes_an_agent(machine: Any) -> None:
    machine.before = "echo Welcome; "
    found = reached()
    assert (found.python, found.workdir, found.needs_python) == (sys.executable, "/", False)
    assert found.environ["JOBKIT_HOME"] == str(machine.home)
    # An agent that is asked nothing ends well.
    found.channel.end_input()
    assert found.channel.status() == 0


def test_the_next_interpreter_is_taken_where_the_first_is_not_there(machine: Any) -> None:
    assert reached("/no/such/python", sys.executable).python == sys.executable
    with pytest.raises(SubmitError, match=r"there: has no Python(?s:.*)with --agent-python on there"):
        reached("/no/such/python", "/nor/this")


def test_a_host_without_this_jobkit_is_refused_with_the_remedy(
    machine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("jobkit.remote.reach.__version__", "9.9")
    pip = r"-m pip install jobkit==9\.9"
    with pytest.raises(SubmitError, match=rf"has another jobkit, got '{jobkit.__version__}'(?s:.*){pip}"):
        reached()
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {getattr(sys, "_base_executable", "python3")} -I -S "$@"\n')
    bare.chmod(0o700)
    with pytest.raises(SubmitError, match=rf"has no jobkit(?s:.*){pip}"):
        reached(str(bare))


def test_a_host_without_the_folder_that_was_asked_for_is_refused(machine: Any, tmp_path: Path) -> None:
    reached(cwd=str(tmp_path)).channel.close()
    with pytest.raises(SubmitError, match=r"there: /no/such: is no folder to work in(?s:.*)--cwd"):
        reached(cwd="/no/such")


def test_what_a_library_raises_is_an_error_of_that_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(connection, "start", fail)
    with pytest.raises(SubmitError, match="there: cannot be used: ZeroDivisionError"):
        reached()
