from __future__ import annotations

import pytest

from jobkit.env.data import dataclass


@dataclass(frozen=True)
class Point:
    x: int
    y: int = 0


def test_values_are_given_by_place_or_name() -> None:
    assert Point(1, 2) == Point(x=1, y=2) == Point(1, y=2)


def test_a_default_is_used_for_what_is_not_given() -> None:
    assert Point(1).y == 0


def test_equal_values_hash_equally() -> None:
    assert {Point(1), Point(1)} == {Point(1)}
    assert Point(1) != Point(2)


def test_it_prints_as_it_is_written() -> None:
    assert repr(Point(1)) == "Point(x=1, y=0)"


@pytest.mark.parametrize(("values", "named"), [((), {}), ((1, 2, 3), {}), ((1,), {"z": 3})])
def test_values_that_do_not_fit_are_refused(values: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Point"):
        Point(*values, **named)


def test_it_cannot_be_changed() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="frozen"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del point.x
