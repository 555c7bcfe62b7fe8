"""What is wrong with one value of a spec, before it is known where the value stands."""

from __future__ import annotations

Path = tuple[str | int, ...]

_SHOWN = 60  # characters of a value that a message repeats


class Shown:
    """A value whose repr fits into one line of a message."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        # A number is cheap to show however long; anything else could be the whole file.
        text = repr(self.value)
        return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


class Wrong(ValueError):
    """One value that cannot be used.

    Attributes:
        wrong: What is wrong, without the value.
        got: The value as written, or None when showing it would not help.
        expected: What to write instead.
        at: Where it stands, relative to what was being checked.
    """

    def __init__(self, wrong: str, *, got: object = None, expected: str = "", at: Path = ()) -> None:
        super().__init__(wrong)
        self.wrong = wrong
        self.got = None if got is None else Shown(got)
        self.expected = expected
        self.at = at


class Wrongs(ValueError):
    """Several values that cannot be used, found by one check."""

    def __init__(self, wrongs: list[Wrong]) -> None:
        super().__init__(f"{len(wrongs)} values")
        self.wrongs = wrongs
