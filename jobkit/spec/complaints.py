"""Say everything that is wrong with a spec, line by line, in words of our own."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from jobkit.errors import complaint
from jobkit.spec.document import Document, Place, located
from jobkit.spec.wrong import Path, Wrong, Wrongs

MAX_COMPLAINTS = 50  # nobody reads more, and each unknown key is compared with every known one

_TYPES = {
    "tuple_type": ("not a list", "a list: [a, b]"),
    "dict_type": ("not a mapping", "a mapping: {name: value}"),
    "model_type": ("not a section", "a mapping: {key: value}"),
    "missing": ("missing", ""),
}


def wrongs_of(error: ValidationError, model: type[BaseModel]) -> list[Wrong]:
    """Return what pydantic found, each with its path from the top of the spec; the first of very many."""
    found = error.errors()[:MAX_COMPLAINTS]
    return [wrong for details in found for wrong in _wrongs(details, model)]


def _wrongs(details: ErrorDetails, model: type[BaseModel]) -> Iterator[Wrong]:
    path: Path = tuple(part for part in details["loc"] if part != "[key]")
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, Wrong | Wrongs):
        for wrong in [cause] if isinstance(cause, Wrong) else cause.wrongs:
            wrong.at = path + wrong.at
            yield wrong
    elif details["type"] == "extra_forbidden":
        yield _unknown_key(path, model)
    elif details["type"] == "missing":
        yield Wrong("missing", expected=_description(path, model), at=path)
    else:
        wrong_text, expected = _TYPES.get(details["type"], (details["msg"], ""))
        yield Wrong(wrong_text, got=details["input"], expected=expected, at=path)


def _unknown_key(path: Path, model: type[BaseModel]) -> Wrong:
    known = list(_keys(section_of(path[:-1], model)))
    near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.6)
    expected = f"{near[0]!r}, the nearest key" if near else f"one of {', '.join(known)}"
    return Wrong("unknown key", got=str(path[-1]), expected=expected, at=path)


def section_of(path: Path, model: type[BaseModel]) -> type[BaseModel]:
    """Return the model of the section at a path; an optional one (`signal`) counts as itself."""
    for part in path:
        model = section_in(_keys(model)[str(part)]) or model
    return model


def section_in(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a type stands for, or None for a single value; `Signal | None` is a Signal."""
    choices = (annotation, *get_args(annotation))
    return next((one for one in choices if isinstance(one, type) and issubclass(one, BaseModel)), None)


def _keys(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _description(path: Path, model: type[BaseModel]) -> str:
    fields = section_of(path[:-1], model).model_fields
    text = next(
        field.description or "" for name, field in fields.items() if (field.alias or name) == path[-1]
    )
    return text[:1].lower() + text[1:].rstrip(".")


def _line(place: Place, wrong: Wrong) -> str:
    return complaint(located(place, wrong.at), wrong.wrong, got=wrong.got, expected=wrong.expected)


def told(wrongs: list[Wrong], document: Document) -> str:
    """Return one text with a line for each complaint, in the order of the lines they are about."""
    found = document.wrongs + [(document.place(wrong.at), wrong) for wrong in wrongs]
    # Overrides have line 0 and come last.
    found.sort(key=lambda each: (each[0].line == 0, each[0].line))
    lines = list(dict.fromkeys(_line(place, wrong) for place, wrong in found))
    more = [f"and {len(lines) - MAX_COMPLAINTS} more"] if len(lines) > MAX_COMPLAINTS else []
    return "\n".join(lines[:MAX_COMPLAINTS] + more)
