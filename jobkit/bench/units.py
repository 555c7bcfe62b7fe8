"""Read sizes as people write them, and write sizes, times and rates as people read them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jobkit.errors import SpecError, complaint

_LETTERS = "KMG"
_FORM = "FIRST:LAST, FIRST:LAST:FACTOR or a list with commas, such as 8:256M or 8,64K,1M"


def sizes(text: str) -> tuple[int, ...]:
    """Return the sizes in bytes that `--sizes` asks for, in its order.

    >>> sizes("8:64"), sizes("1K:1M:32"), sizes("64K,8")
    ((8, 16, 32, 64), (1024, 32768, 1048576), (65536, 8))

    Raises:
        SpecError: It is neither a range nor a list of sizes.
    """
    words = text.split(":")
    if len(words) == 1:
        return tuple(_bytes(word, text) for word in text.split(","))
    first, last = _bytes(words[0], text), _bytes(words[1], text)
    factor = _factor(words[2], text) if len(words) == 3 else 2
    if len(words) > 3 or first < 1 or last < first:
        raise SpecError(complaint("--sizes", "not a range", got=text, expected=_FORM))
    return tuple(_range(first, last, factor))


def _range(first: int, last: int, factor: int) -> Iterator[int]:
    while first <= last:
        yield first
        first *= factor


def _bytes(word: str, text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,15})([KMG]?)", word.strip(), re.ASCII)
    if match is None:
        raise SpecError(complaint("--sizes", f"not a size: {word!r}", got=text, expected=_FORM))
    return int(match[1]) << (10 * (_LETTERS.index(match[2]) + 1) if match[2] else 0)


def _factor(word: str, text: str) -> int:
    if re.fullmatch(r"[0-9]{1,9}", word, re.ASCII) is None or int(word) < 2:
        raise SpecError(complaint("--sizes", "not a factor of 2 or more", got=text, expected=_FORM))
    return int(word)


def size(n_bytes: int) -> str:
    """Return a number of bytes, with a letter where it is a round number of these.

    >>> size(8), size(65536), size(3 << 20), size(1500)
    ('8', '64K', '3M', '1500')
    """
    for power in (3, 2, 1):
        if n_bytes and n_bytes % (1 << 10 * power) == 0:
            return f"{n_bytes >> 10 * power}{_LETTERS[power - 1]}"
    return str(n_bytes)


def microseconds(seconds: float) -> str:
    """Return a time in microseconds, to three digits that count.

    >>> microseconds(3.456e-7), microseconds(0.01234567)
    ('0.346', '12346')
    """
    return _three_digits(seconds * 1e6)


def gigabytes(per_second: float) -> str:
    """Return a rate in GB/s (10⁹ bytes), to three digits that count."""
    return _three_digits(per_second / 1e9)


def _three_digits(value: float) -> str:
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"
