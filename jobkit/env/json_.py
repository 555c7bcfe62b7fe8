"""JSON for the shim, by the parts of `json` that are written in C.

`import json` brings `re` and `enum` with it and costs 11 ms of every rank's start, beside 13 for Python's own
(CPU time, CPython 3.11).
"""

from __future__ import annotations

from _json import encode_basestring_ascii as _quote
from _json import make_scanner

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Plain:
    """What a scanner asks of its decoder: nothing beyond JSON's own types."""

    strict = True
    object_hook = object_pairs_hook = parse_constant = None
    parse_float, parse_int = float, int


_scan: Callable[[str, int], tuple[Any, int]] = make_scanner(_Plain)  # type: ignore[arg-type]


def dumps(value: object) -> str:
    """Return a value of dict, list, tuple, str, int, bool and None as JSON text.

    >>> dumps({"ranks": [0, 1], "host": "node-1"})
    '{"ranks": [0, 1], "host": "node-1"}'
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quote(key)}: {dumps(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(dumps, value)) + "]"
    if isinstance(value, str):
        return _quote(value)
    named = {None: "null", True: "true", False: "false"}
    return named[value] if value is None or isinstance(value, bool) else str(value)


def loads(text: str) -> Any:
    """Return the value of JSON text.

    Raises:
        ValueError: It is not JSON.
    """
    text = text.strip()
    try:
        value, end = _scan(text, 0)
    except StopIteration as error:
        raise ValueError(f"no value at character {error.value}") from error
    if end != len(text):
        raise ValueError(f"more than one value, at character {end}")
    return value
