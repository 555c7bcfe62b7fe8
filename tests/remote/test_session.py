from __future__ import annotations

import sys

import pytest

import jobkit
from jobkit.errors import SubmitError
from jobkit.remote import session


def test_the_program_says_who_it_is(machine) -> None:
    talk = machine.session()
    assert (talk.python, talk.jobkit) == (sys.executable, jobkit.__version__)
    assert machine.session() is talk
    session.drop("there", sys.executable)
    assert machine.session() is not talk


@pytest.mark.parametrize(
    "noise", ["echo hello; ", "printf 'no end'; ", "seq 20000; ", "printf '\\0\\377\\n'; "]
)
def test_what_a_login_shell_prints_is_read_over(machine, noise: str) -> None:
    machine.before = noise + "echo more >&2; "
    assert machine.session().jobkit == jobkit.__version__


def test_a_shell_that_prints_without_end_is_given_up(machine) -> None:
    machine.before = "yes | head -c 9000000; "
    with pytest.raises(SubmitError, match="prints without end"):
        machine.session()


def test_a_machine_without_python_is_told_with_the_remedy(machine) -> None:
    with pytest.raises(SubmitError, match=r"has no Python: .*no-such-python(?s:.*)hint: name an interpreter"):
        machine.session("no-such-python")


def test_a_python_that_is_too_old_is_told(machine, tmp_path) -> None:
    # The program asks before it uses anything that an old one lacks.
    old = tmp_path / "old"
    old.write_text(
        f"#!/bin/sh\nexec {machine.python} -c "
        '"import sys; sys.version_info = (3, 6); exec(sys.argv[1])" "$2"\n'
    )
    old.chmod(0o700)
    with pytest.raises(SubmitError, match=r"is too old, got '3.6', expected >= 3.10"):
        machine.session(str(old))


def test_one_command_without_anything_that_a_shell_may_read_differently() -> None:
    words = session.command("/opt/my python/bin/python3")
    assert words == f"'/opt/my python/bin/python3' -c '{session.LOADER}'"
    assert not set(session.LOADER) & set("!\\'\"\n$`")


@pytest.mark.parametrize("python", ["/a!b", "/a'b", "/a\\b", "/a\nb"])
def test_an_interpreter_that_no_quote_fits_is_refused(python: str) -> None:
    with pytest.raises(SubmitError, match="login shell"):
        session.command(python)
