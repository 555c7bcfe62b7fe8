from __future__ import annotations

import os
import select
from collections.abc import Callable
from pathlib import Path

import pytest

from jobkit.agent.setup import Setup

Run = Callable[..., tuple[Setup, int]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*lines: str, **environ: str) -> tuple[Setup, int]:
        base = {"PATH": os.environ["PATH"], **environ}
        setup = Setup(lines, base, str(tmp_path), tmp_path / "setup.log")
        while True:
            select.select([setup], [], [], 10)
            if not setup.read():
                break
        status = setup.process.wait()
        setup.close()
        return setup, status

    return run


def test_what_the_lines_export_is_left(run: Run) -> None:
    setup, status = run("export A='two\nlines' B=${OLD}more", "C=not-exported", OLD="old-")
    assert status == 0
    environ = setup.environ()
    assert (environ["A"], environ["B"], environ["OLD"]) == ("two\nlines", "old-more", "old-")
    assert not environ.keys() & {"C", "_", "SHLVL"}


def test_one_line_may_hold_a_whole_script(run: Run) -> None:
    setup, _ = run("for i in 1 2; do\n  export N$i=$i\ndone", "f() { export F=1; }", "f")
    assert {"N1": "1", "N2": "2", "F": "1"}.items() <= setup.environ().items()


@pytest.mark.parametrize(
    ("lines", "line", "status"),
    [
        (("true", "false", "true"), "line 2 failed with status 1 on a: false", 1),
        (("no-such-command",), "line 1 failed with status 127 on a: no-such-command", 127),
        (("exit 3",), "line 1 failed with status 3 on a: exit 3", 3),
        (("true", "if"), "line 2 failed with status 2 on a: if", 2),
        (("f() { false; }; f",), "line 1 failed with status 1", 1),
        (("true", "kill -9 $$"), "line 2 was killed by SIGKILL on a: kill -9 $$", -9),
        (("kill -40 $$",), "line 1 was killed by SIG", -40),
    ],
)
def test_the_line_that_fails_is_named(run: Run, lines: tuple[str, ...], line: str, status: int) -> None:
    setup, ended = run(*lines)
    assert ended == status
    assert line in setup.failure(ended, "a")


@pytest.mark.parametrize("last", ["exit 0", "exec true"])
def test_a_line_that_ends_the_shell_leaves_no_environment(run: Run, last: str) -> None:
    for lines in (("export A=1", last), ("export A=1", last, "export B=1")):
        setup, status = run(*lines, PWD="/")

        assert (status, setup.environ()) == (0, {})
        assert f"line 2 ended the shell, expected every line to go on to the next on a: {last}" in (
            setup.failure(status, "a")
        )


def test_the_end_of_what_a_failing_line_wrote_is_shown(run: Run) -> None:
    setup, status = run("echo before; seq 10000; echo 'module: not found' >&2; false")
    message = setup.failure(status, "a")
    assert message.endswith("module: not found")
    assert len(message) < 3000


def test_a_line_that_leaves_the_shell_leaves_no_environment(run: Run) -> None:
    setup, status = run("exit 0")
    assert (status, setup.environ()) == (0, {})
