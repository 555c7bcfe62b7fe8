"""What is wrong with a value fits into a line."""

from __future__ import annotations

from jobkit.spec.wrong import Shown, Wrong, Wrongs


def test_a_long_value_is_cut() -> None:
    assert repr(Shown("a" * 1000)) == "'" + "a" * 58 + "…"
    assert repr(Shown("a")) == "'a'"


def test_a_wrong_without_a_value_shows_none() -> None:
    assert Wrong("missing").got is None
    assert repr(Wrong("empty", got="").got) == "''"


def test_several_wrongs_travel_together() -> None:
    wrongs = [Wrong("a"), Wrong("b", at=("c", 1))]

    assert Wrongs(wrongs).wrongs == wrongs
