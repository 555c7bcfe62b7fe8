from __future__ import annotations

import pytest

from jobkit.bench import units
from jobkit.errors import SpecError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8", (8,)),
        ("8:64", (8, 16, 32, 64)),
        ("8:65", (8, 16, 32, 64)),
        ("1K:4M:64", (1 << 10, 1 << 16, 1 << 22)),
        ("1G,0,3", (1 << 30, 0, 3)),
    ],
)
def test_sizes_are_a_range_or_a_list(text: str, expected: tuple[int, ...]) -> None:
    assert units.sizes(text) == expected


@pytest.mark.parametrize(
    "text", ["", "8:", ":8", "64:8", "0:8", "8:64:1", "8:64:x", "8:64:2:2", "8k", "-8", "8,,8", "٨", "1e3"]
)
def test_what_is_no_size_is_a_complaint_that_says_what_is(text: str) -> None:
    with pytest.raises(SpecError, match=r"--sizes: .*got.*expected FIRST:LAST"):
        units.sizes(text)


@pytest.mark.parametrize("n_bytes", [0, 1, 8, 1000, 1024, 1536, 3 << 20, 5 << 30])
def test_a_size_that_is_written_is_read_as_itself(n_bytes: int) -> None:
    assert units.sizes(units.size(n_bytes)) == (n_bytes,)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.000"), (3.4e-7, "0.340"), (9.994e-6, "9.99"), (5e-5, "50.0"), (1.5, "1500000")],
)
def test_times_are_microseconds_with_three_digits(seconds: float, text: str) -> None:
    assert units.microseconds(seconds) == text


def test_rates_are_powers_of_ten() -> None:
    assert units.gigabytes(12.34e9) == "12.3"
