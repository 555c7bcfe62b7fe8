from __future__ import annotations

import doctest

import pytest

from jobkit.errors import SpecError
from jobkit.pretend import place


def test_examples() -> None:
    assert doctest.testmod(place).failed == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slurm", "expected slurm:2x4"),
        ("slurm:2", "expected slurm:2x4"),
        ("slurm:2x", "expected slurm:2x4"),
        ("slurm:-1x2", "expected slurm:2x4"),
        ("slurm:2x4 ", "expected slurm:2x4"),
        ("", "expected slurm:2x4"),
        ("slrum:2x4", "no such launcher, got 'slrum', expected one of slurm, pbs"),
        ("slurm:0x4", "not a number of ranks, got 'slurm:0x4', expected 1 to 10000"),
        ("slurm:101x100", "not a number of ranks"),
        ("slurm:9999999x1", "expected slurm:2x4"),
    ],
)
def test_what_means_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        place.shape(text, ("slurm", "pbs"))
    assert message in str(caught.value)
