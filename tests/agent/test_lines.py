from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobkit.agent.lines import HOLD_S, LONG_BYTES, SILENCE_S, Lines, prefixes

PLAIN: dict[int, dict[int, bytes]] = {}


def test_a_line_goes_out_when_it_is_whole() -> None:
    lines = Lines(PLAIN, one_screen=False)
    assert lines.feed(0, 1, b"one\ntwo", 0.0) == b"one\n"
    assert lines.feed(0, 1, b" more\n", 0.0) == b"two more\n"


def test_lines_of_two_ranks_never_mix() -> None:
    lines = Lines(PLAIN, one_screen=False)
    assert lines.feed(0, 1, b"a0", 0.0) == b""
    assert lines.feed(1, 1, b"b\n", 0.0) == b"b\n"
    assert lines.feed(0, 1, b"a1\n", 0.0) == b"a0a1\n"


def test_a_prompt_goes_out_after_a_silence() -> None:
    lines = Lines(PLAIN, one_screen=False)
    lines.feed(0, 1, b"(Pdb) ", 1.0)
    assert lines.due(1.0 + SILENCE_S / 2) == []
    assert lines.next_due() == pytest.approx(1.0 + SILENCE_S)
    assert lines.due(1.0 + SILENCE_S) == [(1, b"(Pdb) ")]
    assert lines.next_due() is None


def test_a_rank_that_dribbles_is_shown_all_the_same() -> None:
    lines = Lines(PLAIN, one_screen=False)
    shown: list[tuple[int, bytes]] = []
    for step in range(20):
        lines.feed(0, 1, b".", step * 0.02)
        shown += lines.due(step * 0.02)
    assert shown


def test_a_line_of_another_rank_waits_for_an_open_one_to_end() -> None:
    lines = Lines(PLAIN, one_screen=False)
    lines.feed(0, 1, b"0 ", 0.0)
    assert lines.due(1.0) == [(1, b"0 ")]
    assert lines.feed(1, 1, b"1 array\n2", 1.1) == b""
    assert lines.feed(0, 1, b"array\n", 1.2) == b"array\n"
    assert lines.due(1.2) == [(1, b"1 array\n2")]


def test_after_a_while_it_cuts_the_open_one() -> None:
    lines = Lines(PLAIN, one_screen=False)
    lines.feed(0, 1, b"(Pdb) ", 0.0)
    lines.due(1.0)
    assert lines.feed(1, 1, b"other\n", 1.0) == b""
    assert lines.next_due() == pytest.approx(1.0 + HOLD_S)
    assert lines.due(1.0 + HOLD_S) == [(1, b"\nother\n")]
    assert lines.feed(0, 1, b"answer\n", 3.0) == b"answer\n"


def test_a_rank_that_dribbles_does_not_keep_the_others_for_ever() -> None:
    lines = Lines(PLAIN, one_screen=False)
    lines.feed(0, 1, b".", 0.0)
    lines.due(0.1)
    assert lines.feed(1, 1, b"other\n", 0.1) == b""
    shown: list[tuple[int, bytes]] = []
    for step in range(2, 100):
        lines.feed(0, 1, b".", step * 0.05)
        shown += lines.due(step * 0.05)
    assert any(b"other\n" in text for _, text in shown)


def test_a_progress_bar_is_cut_at_once() -> None:
    lines = Lines(PLAIN, one_screen=False)
    lines.feed(0, 2, b"\r 10%", 0.0)
    lines.due(1.0)
    assert lines.feed(1, 2, b"other\n", 1.0) == b"\nother\n"


def test_both_streams_share_a_terminal() -> None:
    lines = Lines(PLAIN, one_screen=True)
    lines.feed(0, 1, b"prompt", 0.0)
    lines.due(1.0)
    assert lines.feed(1, 2, b"error\n", 9.0) == b"\nerror\n"


def test_a_line_without_end_goes_out_in_pieces() -> None:
    lines = Lines(PLAIN, one_screen=False)
    out = b"".join(lines.feed(0, 1, b"x" * 10_000, 0.0) for _ in range(20))
    assert len(out) >= 200_000 - LONG_BYTES


def test_every_line_begins_with_its_rank() -> None:
    lines = Lines({1: prefixes(2, coloured=False)}, one_screen=False)
    assert lines.feed(1, 1, b"a\nb\n\nc\n", 0.0) == b"[1] a\n[1] b\n[1] \n[1] c\n"
    assert lines.feed(1, 2, b"a\n", 0.0) == b"a\n"


def test_a_progress_bar_keeps_its_rank() -> None:
    lines = Lines({2: prefixes(1, coloured=False)}, one_screen=False)
    lines.feed(0, 2, b"\r 10%", 0.0)
    assert lines.due(1.0) == [(2, b"[0] \r[0]  10%")]
    lines.feed(0, 2, b"\r 20%", 1.0)
    assert lines.due(2.0) == [(2, b"\r[0]  20%")]
    assert lines.feed(0, 2, b"\r 30%\r\n", 2.0) == b"\r[0]  30%\r\n"


def test_colours_differ_from_rank_to_rank() -> None:
    assert prefixes(2, coloured=True) == {0: b"\x1b[31m[0]\x1b[0m ", 1: b"\x1b[32m[1]\x1b[0m "}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([b"a", b"\n", b"\r", b"\xff", b"b\nc"]))))
def test_every_ranks_bytes_come_out_in_order(pieces: list[tuple[int, bytes]]) -> None:
    fed: dict[int, bytes] = {0: b"", 1: b"", 2: b""}
    lines = Lines(PLAIN, one_screen=False)
    out = b""
    for now, (rank, data) in enumerate(pieces):
        # Each rank writes letters of its own, so that its bytes can be told apart.
        data = data.replace(b"a", b"%d" % rank).replace(b"b", b"%d" % rank).replace(b"c", b"%d" % rank)
        fed[rank] += data
        out += lines.feed(rank, 1, data, float(now)) + b"".join(text for _, text in lines.due(float(now)))
    out += b"".join(text for _, text in lines.rest(1e9))
    for rank, data in fed.items():
        mark = b"%d" % rank
        assert out.count(mark) == data.count(mark)
