"""Write the table of all keys that docs/spec.md shows: `python -m jobkit.spec.reference docs/spec.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jobkit.spec.complaints import section_in
from jobkit.spec.kinds import Kind
from jobkit.spec.model import JobSpec

_START, _END = "<!-- keys -->\n", "<!-- end of keys -->"
_HEAD = "| key | is | default | for example | meaning |\n| --- | --- | --- | --- | --- |\n"


def table() -> str:
    """Return a Markdown table with a row for each key."""
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in _rows(JobSpec, ""))


def filled(page: str) -> str:
    """Return a page with the table between its two markers."""
    before, rest = page.split(_START)
    return before + _START + table() + _END + rest.split(_END)[1]


def _rows(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        section = section_in(field.annotation)
        if section is None:
            yield f"`{key}`", _is(field), _default(field), _yaml(field.examples), field.description or ""
        else:
            yield f"`{key}`", "a section", "", "", field.description or ""
            yield from _rows(section, f"{key}.")


def _is(field: FieldInfo) -> str:
    """Return what a key's value is, in words: of itself, or of the items of its list or mapping."""
    own = [part.expected for part in field.metadata if isinstance(part, Kind)]
    if own:
        return own[0]
    kinds = [
        part.expected
        for item in get_args(field.annotation)
        for part in get_args(item)
        if isinstance(part, Kind)
    ]
    return f"a list, each {kinds[0]}" if len(kinds) == 1 else f"a mapping: {kinds[0]} to {kinds[1]}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    extra = field.json_schema_extra
    value = extra["default"] if isinstance(extra, dict) else field.default
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    return "unset" if value is None else "none" if value in ((), {}) else f"`{_flow(value)}`"


def _yaml(examples: list[Any] | None) -> str:
    return f"`{_flow(examples[0])}`" if examples else ""


def _flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, str) and value and not value.isdigit() and "," not in value:
        return value
    return json.dumps(value)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(filled(page.read_text()))
