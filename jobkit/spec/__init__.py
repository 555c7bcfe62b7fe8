"""Turn YAML text into a JobSpec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from jobkit.errors import SpecError, complaint
from jobkit.spec import document as documents
from jobkit.spec import overrides as overriding
from jobkit.spec.complaints import MAX_COMPLAINTS, told, wrongs_of
from jobkit.spec.interpolate import literal
from jobkit.spec.json_schema import schema
from jobkit.spec.model import JobSpec
from jobkit.spec.wrong import Shown, Wrong

__all__ = ["JobSpec", "load", "parse", "schema"]


def load(path: str, environ: Mapping[str, str], overrides: Sequence[str] = ()) -> JobSpec:
    """Return the spec in a file.

    Raises:
        SpecError: The file cannot be read, or something is wrong with the spec.
    """
    return parse(read_text(path), path, environ, overrides=overrides)


def read_text(path: str) -> str:
    """Return the text of a spec's file.

    Raises:
        SpecError: It cannot be read, is not UTF-8 text, or is too big to be a spec.
    """
    try:
        with FilePath(path).open("rb") as file:
            data = file.read(documents.MAX_BYTES + 1)
    except IsADirectoryError:
        raise SpecError(complaint(path, "a directory", expected="a file with a spec")) from None
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise SpecError(complaint(path, f"cannot be read: {reason}")) from None
    if len(data) > documents.MAX_BYTES:
        raise SpecError(
            complaint(path, "too big for a spec", expected=f"at most {documents.MAX_BYTES} bytes")
        )
    if b"\0" in data:
        raise SpecError(complaint(path, "a binary file", expected="YAML text in UTF-8"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        got = Shown(data[error.start : error.start + 1])
        raise SpecError(
            complaint(f"{path}:{line}", "not UTF-8", got=got, expected="YAML text in UTF-8")
        ) from None


def parse(text: str, source: str, environ: Mapping[str, str], *, overrides: Sequence[str] = ()) -> JobSpec:
    """Return the spec that a YAML text describes.

    Args:
        text: The YAML.
        source: What to call it in messages; its stem is the name of a job that has none.
        environ: The submitting environment, for `${NAME}`.
        overrides: `KEY=VALUE` of each `--set`, in order.

    Raises:
        SpecError: With every complaint about the text, a line for each.
    """
    document = documents.read(text, source)
    if documents.is_null(document.value):
        raise SpecError(complaint(source, "empty", expected="a spec, at least `run: COMMAND`"))
    if not isinstance(document.value, dict):
        place = str(document.place(()))
        raise SpecError(
            complaint(place, "not a spec", got=Shown(document.value), expected="keys: `run: COMMAND`")
        )
    overriding.apply(document, tuple(overrides))
    spec, wrongs = _validated(document.value, {"environ": environ}, _stem(source))
    if spec is None or document.wrongs:
        raise SpecError(told(wrongs, document))
    spec._document = document
    return spec


def _stem(source: str) -> str:
    stem = "".join(character if character.isprintable() else "_" for character in FilePath(source).stem)
    return stem.strip() or "job"


def _validated(
    value: dict[str, Any], context: dict[str, Any], stem: str
) -> tuple[JobSpec | None, list[Wrong]]:
    """Return the spec, or all that is wrong.

    Checks that compare keys run only once every key is right by itself, so what was found wrong is taken out
    and the rest is checked again: the user edits once.
    """
    wrongs: list[Wrong] = []
    if documents.is_null(value.get("name")):
        value = {**value, "name": literal(stem)}
    while True:
        try:
            spec = JobSpec.model_validate(value, context=context)
        except ValidationError as error:
            found = wrongs_of(error, JobSpec)
        else:
            return (None if wrongs else spec), wrongs
        wrongs += found
        rest = _without(value, {str(wrong.at[0]) for wrong in found if wrong.at}, stem)
        if rest == value or len(wrongs) >= MAX_COMPLAINTS:
            return None, wrongs
        value = rest


# What cannot be checked once another key is gone.
_DEPENDS = {"shell": {"run"}, "sweep": {"run", "env", "name"}}


def _without(value: dict[str, Any], wrong: set[str], stem: str) -> dict[str, Any]:
    """Return a copy without the keys that are wrong, nor those that depend on them."""
    gone = wrong.union(*(_DEPENDS.get(key, set()) for key in wrong))
    rest = {key: item for key, item in value.items() if key not in gone}
    return {"run": "true", "name": literal(stem), **rest}
