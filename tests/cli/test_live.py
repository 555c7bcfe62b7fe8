from __future__ import annotations

import contextlib
import os
import pty
import select
from collections.abc import Callable, Iterator

import pytest

from jobkit.agent.events import Exited, Output, Started
from jobkit.cli import live
from jobkit.cli.live import Live
from jobkit.env.record import RankExit


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Make standard error a terminal; return the terminal's other side."""
    with contextlib.ExitStack() as opened:
        yield lambda: _open(monkeypatch, opened)


def _open(monkeypatch: pytest.MonkeyPatch, opened: contextlib.ExitStack) -> int:
    ours, theirs = pty.openpty()
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    opened.callback(os.close, ours)
    monkeypatch.setattr("sys.stderr", opened.enter_context(os.fdopen(theirs, "w")))
    return ours


def shown(screen: int) -> str:
    found = b""
    while select.select([screen], [], [], 0.2)[0]:
        found += os.read(screen, 1 << 16)
    return found.decode()


def end(rank: int, status: int, signal: str | None = None) -> Exited:
    return Exited(RankExit(rank, "h", status, signal, False, None, "exit", "", "", 0))


def test_each_rank_has_its_host_its_state_and_its_last_line(screen: Callable[[], int]) -> None:
    other = screen()
    with Live(("h1", "h2", "h3", "h4")) as table:
        table.hear(Started(0, 1))
        table.hear(Started(1, 2))
        table.hear(Output(0, 1, b"first\nsecond"))
        table.hear(Output(1, 2, b"\x1b[31mstep 1\rstep 2\x1b[0m"))
        table.hear(end(2, 0))
        table.hear(end(3, 137, "SIGKILL"))
    text = [" ".join(live.plain(line.encode()).split()) for line in shown(other).split("\n")]
    assert any("0 h1" in line and "runs" in line and "second" in line for line in text), text
    assert any("h2" in line and "step 2" in line for line in text)
    assert any("h3" in line and "done" in line for line in text)
    assert any("h4" in line and "SIGKILL" in line for line in text)
    assert table.tail(0) == ["first", "second"]


def test_it_is_drawn_when_something_has_changed_and_not_all_the_time(screen: Callable[[], int]) -> None:
    screen()
    with Live(("h1",)) as table:
        table._draw()
        assert table.due_at() is None
        table.hear(Output(0, 1, b"x"))
        at = table.due_at()
        assert at is not None
        table._drawn_at = at - 10 * live.EVERY_S
        table.on_time()
        assert table.due_at() is None
