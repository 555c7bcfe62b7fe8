from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobkit.errors import SpecError
from jobkit.jobs import ids

MOMENT = datetime(2026, 11, 22, 10, 15, 30, tzinfo=timezone.utc)


def test_an_id_holds_time_name_and_salt() -> None:
    assert ids.new_id("digits", MOMENT, "c0de") == "20261122-101530-digits-c0de"


def test_the_time_is_utc_wherever_the_user_is() -> None:
    there = MOMENT.astimezone(timezone(timedelta(hours=-7)))
    assert ids.new_id("digits", there, "c0de").startswith("20261122-101530-")


@given(name=st.text(max_size=200))
def test_whatever_the_name_the_id_is_one(name: str) -> None:
    made = ids.new_id(name, MOMENT, "c0de")
    assert ids.checked(made) == made


@given(seconds=st.integers(0, 10**8))
def test_ids_sort_by_time(seconds: int) -> None:
    later = ids.new_id("a", MOMENT + timedelta(seconds=seconds + 1), "0000")
    assert ids.new_id("z", MOMENT, "ffff") < later


@pytest.mark.parametrize(
    "bad", ["", "last", "a/b", "../a", ".a", "-a", "a b", "slurm:1", "a\n", "x" * 101, "é"]
)
def test_what_is_no_id_is_refused(bad: str) -> None:
    with pytest.raises(SpecError, match="--id: not a job id"):
        ids.checked(bad)
