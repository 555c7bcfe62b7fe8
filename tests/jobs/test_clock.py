from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from jobkit.jobs import clock

MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone.utc))


@given(MOMENTS)
def test_a_time_survives_its_text(moment: datetime) -> None:
    assert clock.parsed(clock.rfc3339(moment)) == moment


@given(MOMENTS, MOMENTS)
def test_texts_sort_as_times_do(one: datetime, other: datetime) -> None:
    assert (clock.rfc3339(one) < clock.rfc3339(other)) == (one < other)


def test_seconds_between_two_texts() -> None:
    assert clock.seconds_between("2026-11-22T10:15:30Z", "2026-11-22T10:16:30.500Z") == 60.5


def test_another_zone_becomes_utc() -> None:
    there = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert clock.rfc3339(there) == "2025-12-31T23:00:00.000000Z"


def test_durations_are_short() -> None:
    assert [clock.duration(s) for s in (0.04, 7, 75, 3600, 100000)] == [
        "0.0s",
        "7.0s",
        "1m15s",
        "1h00m",
        "1d03h",
    ]
