"""Durations and sizes are read as written, or refused with what to write."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobkit.spec import units
from jobkit.spec.wrong import Wrong


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("1d", 86400),
        ("1d12h", 129600),
        ("1d2h3m4s", 93784),
        ("00:00:01", 1),
        ("02:30:00", 9000),
        ("100:00:00", 360000),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, expected: int) -> None:
    assert units.seconds(text) == expected


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("1:30", "hours or minutes?"),
        ("10:00", "hours or minutes?"),
        ("90", "no unit"),
        ("1.5", "no unit"),
        ("1.5h", "not a duration"),
        ("", "not a duration"),
        ("h", "not a duration"),
        ("2h1d", "not a duration"),
        ("1h1h", "not a duration"),
        ("-1h", "not a duration"),
        ("2H", "not a duration"),
        ("1 h", "not a duration"),
        ("1-00:00:00", "not a duration"),
        ("00:60:00", "not a duration"),
        ("٣h", "not a duration"),
        ("0s", "no time at all"),
        ("00:00:00", "no time at all"),
        ("3651d", "too long"),
        ("9" * 30 + "d", "too long"),
        ("9" * 5000 + "d", "not a duration"),
    ],
)
def test_what_is_not_a_duration_says_why(text: str, wrong: str) -> None:
    with pytest.raises(Wrong, match=f"^{re.escape(wrong)}$"):
        units.seconds(text)


def test_minutes_and_seconds_are_answered_with_both_readings() -> None:
    with pytest.raises(Wrong) as caught:
        units.seconds("1:30")

    assert caught.value.expected == "HH:MM:SS, such as 1:30:00 or 00:1:30"


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(1, 99))
def test_both_forms_of_a_duration_agree(days: int, hours: int, minutes: int, seconds: int) -> None:
    total = days * 86400 + hours * 3600 + minutes * 60 + seconds

    assert units.seconds(f"{days}d{hours}h{minutes}m{seconds}s") == total
    assert units.seconds(f"{total // 3600}:{total % 3600 // 60:02}:{total % 60:02}") == total


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1K", 1024), ("512M", 512 << 20), ("16G", 16 << 30), ("2T", 2 << 40), ("007M", 7 << 20)],
)
def test_memory_is_read_in_powers_of_1024(text: str, expected: int) -> None:
    assert units.memory_bytes(text) == expected


@pytest.mark.parametrize(
    "text", ["16", "16GB", "16GiB", "16g", "1.5G", "G", "", "-1G", "0M", "9999999T", "1" * 99 + "G"]
)
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(Wrong):
        units.memory_bytes(text)


@given(st.text(max_size=20))
def test_the_patterns_of_the_schema_accept_what_is_read(text: str) -> None:
    for read, pattern in (
        (units.seconds, units.DURATION_PATTERN),
        (units.memory_bytes, units.MEMORY_PATTERN),
    ):
        try:
            read(text)
        except Wrong:
            continue
        assert re.search(pattern, text)
