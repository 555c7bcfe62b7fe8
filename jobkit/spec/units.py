"""Read durations and sizes of memory as people write them."""

from __future__ import annotations

import re

from jobkit.spec.wrong import Wrong

DURATION = "a duration: 90s, 15m, 2h, 1d12h or HH:MM:SS"
MEMORY = "a size: 512M, 16G (K, M, G, T are powers of 1024)"

DURATION_PATTERN = r"^(?=\d)(\d+d)?(\d+h)?(\d+m)?(\d+s)?$|^\d+:[0-5]\d:[0-5]\d$"
MEMORY_PATTERN = r"^[1-9]\d*[KMGT]$"

_LONGEST_S = 10 * 365 * 86400  # years of ten digits are a slip of the keyboard
_LARGEST_BYTES = 1 << 60
_DIGITS = 15  # enough for every value below the limits, and quick to convert


def seconds(text: str) -> float:
    """Return the seconds of a duration.

    >>> seconds("1d12h"), seconds("02:30:00")
    (129600.0, 9000.0)

    Raises:
        Wrong: Not a duration, zero, or longer than ten years.
    """
    if re.fullmatch(r"\d+:\d+", text, re.ASCII):
        raise Wrong("hours or minutes?", got=text, expected=f"HH:MM:SS, such as {text}:00 or 00:{text}")
    if re.fullmatch(r"[\d.]+", text, re.ASCII):
        raise Wrong("no unit", got=text, expected=DURATION)
    clock = re.fullmatch(r"(?P<h>\d+):(?P<m>[0-5]\d):(?P<s>[0-5]\d)", text, re.ASCII)
    units = re.fullmatch(r"(?=\d)((?P<d>\d+)d)?((?P<h>\d+)h)?((?P<m>\d+)m)?((?P<s>\d+)s)?", text, re.ASCII)
    match = clock or units
    if match is None or len(text) > 4 * _DIGITS:
        raise Wrong("not a duration", got=text, expected=DURATION)
    parts = {unit: int(digits or 0) for unit, digits in match.groupdict().items()}
    total = parts.get("d", 0) * 86400 + parts["h"] * 3600 + parts["m"] * 60 + parts["s"]
    if not 0 < total <= _LONGEST_S:
        raise Wrong(
            "no time at all" if total == 0 else "too long", got=text, expected=f"{DURATION}, up to 3650d"
        )
    return float(total)


def memory_bytes(text: str) -> int:
    """Return the bytes of a size of memory.

    >>> memory_bytes("16G")
    17179869184

    Raises:
        Wrong: Not a size, zero, or an exbibyte and more.
    """
    if re.fullmatch(r"[\d.]+", text, re.ASCII):
        raise Wrong("no unit", got=text, expected=MEMORY)
    match = re.fullmatch(r"(\d+)([KMGT])", text, re.ASCII)
    if match is None or len(text) > _DIGITS:
        raise Wrong("not a size of memory", got=text, expected=MEMORY)
    n_bytes = int(match[1]) << (10 * ("KMGT".index(match[2]) + 1))
    if not 0 < n_bytes <= _LARGEST_BYTES:
        raise Wrong("no memory at all" if n_bytes == 0 else "too much", got=text, expected=MEMORY)
    return n_bytes
