"""Read the values that need more than their own text: the environment, the shell, the rest of a list.

Each has a kind at the end, which the model names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from math import prod
from typing import Any

from pydantic import ValidationInfo

from jobkit.spec import kinds
from jobkit.spec.document import Plain, is_null
from jobkit.spec.interpolate import KEY, Template, command, template
from jobkit.spec.wrong import Wrong, Wrongs

BACKENDS = ("any", "ring", "jaccl", "jaccl-ring", "mpi", "nccl", "none")
MAX_POINTS = 10_000


def _environ(info: ValidationInfo) -> Mapping[str, str]:
    environ: Mapping[str, str] = (info.context or {}).get("environ", {})
    return environ


def _home(text: str, environ: Mapping[str, str]) -> str:
    """Return what a leading ~ stands for: the home folder, or nothing where there is none."""
    if text != "~" and not text.startswith("~/"):
        return ""
    if not environ.get("HOME"):
        raise Wrong("HOME is not set", got=text, expected="HOME in the environment, or a path without ~")
    return environ["HOME"]


def _read_each(items: Any, read: Callable[[Any], Any]) -> list[Any]:
    """Return what `read` makes of each (place, value), reporting every one that is wrong."""
    found: list[Any] = []
    wrongs: list[Wrong] = []
    for at, value in items:
        try:
            found.append(read(value))
        except (Wrong, Wrongs) as error:
            for wrong in error.wrongs if isinstance(error, Wrongs) else [error]:
                wrong.at = (at, *wrong.at)
                wrongs.append(wrong)
    if wrongs:
        raise Wrongs(wrongs)
    return found


def _read_run(value: Any, info: ValidationInfo) -> tuple[Template, ...]:
    """Return the words of the command, or with `shell: true` its text alone."""
    if "shell" not in info.data:
        return ()  # `shell` is wrong itself: what the command may have in it is not known
    shell = bool(info.data["shell"])
    if isinstance(value, dict) or is_null(value):
        raise Wrong("not a command", got=value, expected="text or a list of words")
    if isinstance(value, list | tuple):
        return _read_words(value, _environ(info), shell)
    text = kinds.written(value)
    if not text.strip():
        raise Wrong("no command", got=text, expected="a program, then its arguments")
    words = (template(text, {}, shell=True),) if shell else command(text, _environ(info))
    if not words[0].parts:
        raise Wrong("no program", got=text, expected="a program, then its arguments")
    return words


def _read_words(
    value: list[Any] | tuple[Any, ...], environ: Mapping[str, str], shell: bool
) -> tuple[Template, ...]:
    def word(item: Any) -> Template:
        if item == "" and isinstance(item, Plain):
            raise Wrong("no word", expected='text; "" for an empty word')
        return template(kinds.written(item), environ)

    if shell:
        raise Wrong("a list together with `shell: true`", got=value, expected="one text")
    found = _read_each(enumerate(value), word)
    if not found or not found[0].parts:
        raise Wrong("no command", got=value, expected="a program, then its arguments")
    return tuple(found)


def _read_variable(value: Any, info: ValidationInfo) -> Template:
    return template(kinds.variable_text(value), _environ(info))


def _read_path(value: Any, info: ValidationInfo) -> str:
    """Return a path with variables and ~ put in; it may still be relative."""
    environ, text = _environ(info), kinds.plain_text(value)
    home = _home(text, environ)
    filled = template(text[1:] if home else text, environ)
    if filled.references():
        raise Wrong(
            "not replaced here", got=value, expected="a path; run, env and name can have ${{ sweep.KEY }}"
        )
    path = home + filled.fill({})
    if not path:
        raise Wrong("empty", got=value, expected="a path")
    return path


def _read_name(value: Any) -> Template:
    """Return the name of the job; a Template is one that was made from the file's name."""
    if isinstance(value, Template):
        return value
    text = kinds.one_line(value)
    if "${" in text.replace("$${", "").replace("${{", ""):
        raise Wrong("not replaced here", got=value, expected="a name; it can have ${{ sweep.KEY }}")
    return template(text, {})


def _read_python(value: Any) -> str:
    text = kinds.setting(value)
    if "/" not in text:
        raise Wrong("not a path", got=text, expected=f"a path with a slash, such as /usr/bin/{text}")
    return text


def _read_backend(value: Any) -> tuple[str, ...]:
    """Return the backends, one or several."""
    one = kinds.choice(*BACKENDS).read
    if not isinstance(value, list | tuple):
        return (one(value),)
    found = tuple(_read_each(enumerate(value), one))
    if not found:
        raise Wrong("an empty list", got=value, expected=kinds.choice(*BACKENDS).expected)
    if len(set(found)) < len(found):
        raise Wrong("a backend given twice", got=value, expected="each once")
    if len(found) > 1 and {"any", "none"} & set(found):
        raise Wrong(
            "any and none stand alone", got=value, expected="a list of ring, jaccl, jaccl-ring, mpi, nccl"
        )
    return found


def _read_sweep(value: Any) -> tuple[dict[str, str], ...]:
    """Return the points of a sweep: the product of lists, the last key fastest, or mappings as they are."""
    if isinstance(value, dict) and value:
        columns = _read_each(value.items(), _read_column)
        n_points = prod(len(column) for column in columns)
        _check_points(n_points)
        _read_each(((key, key) for key in value), _read_key)
        return tuple(dict(zip(value, point, strict=True)) for point in product(*columns))
    if isinstance(value, list | tuple) and value:
        _check_points(len(value))
        return tuple(_read_each(enumerate(value), _read_point))
    raise Wrong(
        "no points", got=value, expected="lists: {lr: [0.1, 0.01]}, or a list of mappings: [{lr: 0.1}]"
    )


def _check_points(n_points: int) -> None:
    if n_points > MAX_POINTS:
        raise Wrong("too many points", expected=f"at most {MAX_POINTS}")


def _read_key(key: str) -> str:
    return kinds.matching(
        KEY, key, "not the name of a sweep's value", "letters, digits, _ and -, first a letter or _"
    )


def _read_column(value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not value:
        raise Wrong("not a list of values", got=value, expected="a list: [0.1, 0.01]")
    return _read_each(enumerate(value), _read_sweep_value)


def _read_point(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        raise Wrong("not a point", got=value, expected="a mapping: {lr: 0.1, seed: 1}")
    texts = _read_each(value.items(), _read_sweep_value)
    return dict(zip(_read_each(((key, key) for key in value), _read_key), texts, strict=True))


def _read_sweep_value(value: Any) -> str:
    if value is None or (value == "" and isinstance(value, Plain)):
        raise Wrong("no value", expected='text or a number; "" for empty text')
    return kinds.written(value)


def _reads(read: Callable[..., Any], expected: str, *types: dict[str, Any]) -> kinds.Kind:
    """Return the kind that a reader of this file makes; it may be written in each of several types."""
    return kinds.Kind(expected, read, types[0] if len(types) == 1 else {"anyOf": list(types)})


_SCALAR = {"type": ["string", "number", "boolean"]}
_ANY_TEXT = {"type": "string"}
_LIST = {"type": "array", "items": _SCALAR, "minItems": 1}
_BACKEND = {"enum": list(BACKENDS)}

RUN = _reads(_read_run, "a command, or a list of words", _ANY_TEXT, _LIST)
BACKEND = _reads(
    _read_backend,
    f"{', '.join(BACKENDS)}, or a list",
    _BACKEND,
    {"type": "array", "items": _BACKEND, "minItems": 1},
)
NAME = _reads(_read_name, "text", _ANY_TEXT)
PATH = _reads(_read_path, "a path", _ANY_TEXT)
INTERPRETER = _reads(_read_python, "a path with a slash", _ANY_TEXT)
VARIABLE_TEXT = _reads(_read_variable, "text", _SCALAR)
SWEEP = _reads(
    _read_sweep,
    "a mapping of lists, or a list of mappings",
    {"type": "object", "additionalProperties": _LIST, "minProperties": 1},
    {"type": "array", "items": {"type": "object", "additionalProperties": _SCALAR}, "minItems": 1},
)
