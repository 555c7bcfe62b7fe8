from __future__ import annotations

import re
import sys

import pytest

from jobkit.cli import tables


def test_columns_are_aligned_and_lines_have_no_blanks_at_their_end() -> None:
    assert tables.plain(("JOB", "STATE", "X"), [("a-long-one", "lost", ""), ("b", "running", "y")]) == [
        "JOB         STATE    X",
        "a-long-one  lost",
        "b           running  y",
    ]


def test_a_pipe_gets_plain_columns(capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_table(("A", "B"), [("[red]x", "2")])
    assert capsys.readouterr().out == "A       B\n[red]x  2\n"


def test_what_would_break_a_line_or_steer_a_terminal_is_shown_escaped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tables.print_table(("A",), [("é\n\x1b[2J",)])
    assert capsys.readouterr().out == "A\né\\n\\x1b[2J\n"


def test_a_terminal_gets_the_same_words_with_colours_but_not_with_no_color(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    tables.print_table(("JOB", "STATE"), [("[a]", "failed")])
    drawn = capsys.readouterr().out
    assert "[a]" in drawn
    assert "\x1b[31mfailed" in drawn
    monkeypatch.setenv("NO_COLOR", "1")
    tables.print_table(("JOB", "STATE"), [("[a]", "failed")])
    assert "\x1b[31m" not in capsys.readouterr().out


def test_json_keeps_letters_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_json({"name": "é"})
    assert capsys.readouterr().out == '{\n  "name": "é"\n}\n'


def test_a_narrow_terminal_drops_columns_and_never_part_of_the_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    tables.print_table(("JOB", "STATE"), [("20261122-112622-numpy-329e", "running")])
    lines = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out).splitlines()
    assert [line.strip() for line in lines] == ["JOB", "20261122-112622-numpy-329e"]


@pytest.mark.parametrize(("room", "expected"), [(5, 1), (10, 1), (21, 1), (22, 2), (33, 2), (34, 3), (99, 3)])
def test_as_many_columns_are_shown_as_fit(room: int, expected: int) -> None:
    assert tables.fitting([10, 10, 10], room) == expected
