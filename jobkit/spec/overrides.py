"""Lay `--set a.b=value` over a document."""

from __future__ import annotations

from typing import Any

from jobkit.errors import SpecError, complaint
from jobkit.spec.document import Document, Plain, dotted, is_null, read
from jobkit.spec.wrong import Path, Shown

_FORM = "--set KEY=VALUE or --set SECTION.KEY=VALUE"


def apply(document: Document, overrides: tuple[str, ...]) -> None:
    """Replace values of `document` by those of `overrides`, the last of several for one key.

    Sections that are missing are made; a value is YAML, and nothing at all is null, the default.

    Raises:
        SpecError: An override that is not KEY=VALUE, not YAML, or goes into a value that is no section.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        path: Path = tuple(key.split("."))
        if not equals or not all(path):
            raise SpecError(complaint(f"--set {key}", "not an override", got=Shown(override), expected=_FORM))
        _put(document, path, read(text, f"--set {key}", lines=False))


def _put(document: Document, path: Path, new: Document) -> None:
    section: Any = document.value
    for depth, key in enumerate(path[:-1], start=1):
        if key not in section or is_null(section[key]):
            section[key] = {}
            document.places[path[:depth]] = new.places[()]
        section = section[key]
        if not isinstance(section, dict):
            where = f"--set {dotted(path)}"
            expected = "a section; or set it as a whole"
            raise SpecError(
                complaint(where, f"{dotted(path[:depth])} has no keys", got=Shown(section), expected=expected)
            )
    section[path[-1]] = new.value if new.value is not None else Plain("", "null")
    for old in [place for place in document.places if place[: len(path)] == path]:
        del document.places[old]
    document.places.update({path + place: where for place, where in new.places.items()})
    for place, wrong in new.wrongs:
        wrong.at = path + wrong.at
        document.wrongs.append((place, wrong))
