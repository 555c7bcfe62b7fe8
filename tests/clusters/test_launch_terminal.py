"""`jobkit launch --hosts` with somebody at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import tmux
from clusters.site import LAPTOP, ONE, SLEEP, TWO, Site

Run = Callable[..., tmux.Pane]
RANKS = ("--hosts", f"{ONE},{TWO}", "--backend", "none")
DEBUGGED = """
import os
x = 40 + int(os.environ["JOBKIT_RANK"])
breakpoint()
print("total", x)
"""


@pytest.fixture
def run(site: Site, tmp_path: Path) -> Iterator[Run]:
    """Open a terminal at the laptop, and type `jobkit launch` with these words."""
    if reason := tmux.why_not():
        pytest.skip(reason)
    opened: list[tmux.Pane] = []

    def start(*words: str, **environ: str) -> tmux.Pane:
        pane = tmux.Pane(tmp_path, site.environ(**environ))
        opened.append(pane)
        pane.run(site.hosts.command(LAPTOP, "jobkit", "launch", *RANKS, *words, cwd=str(tmp_path)))
        return pane

    yield start
    for pane in opened:
        pane.close()


def test_pdb_on_two_hosts_is_driven_from_one_keyboard(run: Run, tmp_path: Path) -> None:
    (tmp_path / "debugged.py").write_text(DEBUGGED)
    pane = run("debugged.py")
    pane.expect("(Pdb) ", times=2)
    pane.type("p x + 2")
    pane.press("Enter")
    pane.expect("42\n")
    pane.expect("43\n")
    pane.type("x = 7")
    pane.press("Enter")
    pane.expect("(Pdb)", times=6)
    pane.type("c")
    pane.press("Enter")
    pane.expect("total 7", times=2)


def test_one_rank_reads_the_keyboard_where_it_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "debugged.py").write_text(DEBUGGED.replace("breakpoint()", "if x == 41: breakpoint()"))
    pane = run("--stdin", "1", "debugged.py")
    pane.expect("[0] total 40")
    pane.expect("(Pdb) ")
    pane.type("x = 8")
    pane.press("Enter")
    pane.type("c")
    pane.press("Enter")
    pane.expect("total 8")


def test_ranks_know_the_size_of_the_terminal_and_that_it_has_colours(run: Run) -> None:
    script = 'printf "%s %s %s \\033[35mviolet\\033[0m\\n" $COLUMNS $LINES $FORCE_COLOR'
    pane = run("--", "sh", "-c", script)
    pane.expect("] 100 30 1 violet", times=2)
    styled = pane.screen(styled=True)
    assert "\x1b[35mviolet" in styled
    assert "\x1b[31m[0]" in styled


def test_control_c_is_graceful_once_and_final_twice(run: Run) -> None:
    pane = run("--", "sh", "-c", "trap 'echo polite; exit 0' INT; echo up; while :; do sleep 0.1; done")
    pane.expect("] up", times=2)
    pane.press("C-c")
    pane.expect("] polite", times=2)
    pane.type("echo status=$?.")
    pane.press("Enter")
    pane.expect("status=130.")


def test_control_c_twice_ends_what_will_not_end(run: Run, site: Site, wait: Any) -> None:
    pane = run("--", "sh", "-c", f"trap '' INT TERM; echo up; {SLEEP}")
    pane.expect("] up", times=2)
    pane.press("C-c")
    pane.expect("again kills")
    pane.press("C-c")
    assert wait(lambda: not site.left())
    pane.type("echo status=$?.")
    pane.press("Enter")
    pane.expect("status=130.")


def test_the_table_shows_hosts_states_and_last_lines_as_they_change(run: Run) -> None:
    script = "echo line $JOBKIT_RANK; read line; echo then $line; test $JOBKIT_RANK = 0 || exit 3; sleep 1"
    pane = run("--table", "--", "sh", "-c", script)
    pane.expect("line 0")
    pane.expect("line 1")
    shown = pane.expect(" runs ", times=2)
    rows = [" ".join(line.split()) for line in shown.splitlines()]
    assert "0 one runs line 0" in rows, shown
    assert "1 two runs line 1" in rows, shown
    pane.type("go")
    pane.press("Enter")
    shown = pane.expect("status 3")
    pane.expect("exited with status 3")
    rows = [" ".join(line.split()) for line in pane.screen().splitlines()]
    assert "1 two status 3 then go" in rows, shown
    assert "[1] then go" in rows
