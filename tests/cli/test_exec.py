from __future__ import annotations

import subprocess
import sys

import pytest


def jobkit(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "jobkit", *words], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--", "true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["--backend", "none", "--", "sh", "-c", "exit 3"], 3),
        (["--", "no-such-program"], 127),
        (["--chdir", "/no/such", "--", "true"], 125),
        (["--backend", "tcp", "--", "true"], 2),
        (["--"], 2),
    ],
)
def test_its_exit_status_is_the_programs_or_its_own(words: list[str], status: int) -> None:
    assert jobkit("exec", *words).returncode == status


def test_flags_of_the_program_are_its_own() -> None:
    assert jobkit("exec", "--", "echo", "--backend", "x", "--").stdout == "--backend x --\n"
    assert jobkit("exec", "echo", "--backend", "x").stdout == "--backend x\n"


def test_the_program_is_placed() -> None:
    assert jobkit("exec", "--", "sh", "-c", "echo $JOBKIT_RANK $JOBKIT_SIZE").stdout == "0 1\n"
