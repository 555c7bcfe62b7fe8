from __future__ import annotations

from jobkit.agent import introduction

SECRET, OTHER = "ab" * 32, "cd" * 32


def test_both_sides_show_that_they_have_the_secret() -> None:
    nonce = introduction.nonce()
    line, expected = introduction.hello(SECRET, nonce, {"node": 3})
    assert introduction.heard(SECRET, nonce, line) == ({"node": 3}, expected)


def test_who_has_another_secret_repeats_what_was_heard_or_changes_it_is_a_stranger() -> None:
    nonce = introduction.nonce()
    line, _ = introduction.hello(SECRET, nonce, {"node": 3})
    assert introduction.heard(OTHER, nonce, line) is None
    assert introduction.heard(SECRET, introduction.nonce(), line) is None
    assert introduction.heard(SECRET, nonce, line.replace("3}", "4}")) is None
    for garbage in ("", "\n", "a b c\n", "GET / HTTP/1.1\r\n", "\udcff \udcff \udcff\n"):
        assert introduction.heard(SECRET, nonce, garbage) is None


def test_the_answers_of_two_launches_differ() -> None:
    _, one = introduction.hello(SECRET, "n", {})
    _, other = introduction.hello(OTHER, "n", {})
    assert one != other
