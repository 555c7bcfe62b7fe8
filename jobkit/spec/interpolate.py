"""Replace `${NAME}` now and keep `${{ sweep.KEY }}` for each point of a sweep.

A template is a tuple of parts and not a string, so that a value that happens to hold `${{ sweep.lr }}` or
`$${` is never taken for more than text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from jobkit.spec import words
from jobkit.spec.wrong import Shown, Wrong

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
KEY = r"[A-Za-z_][A-Za-z0-9_-]*"

_SWEEP = re.compile(r"\$\$\{\{|\$\{\{(?P<sweep>.*?)\}\}|\$\{\{", re.DOTALL)
_BOTH = re.compile(r"\$\$\{|\$\{\{(?P<sweep>.*?)\}\}|\$\{(?P<name>[^{}]*)\}|\$\{", re.DOTALL)
_VARIABLE = re.compile(rf"({NAME})(?::-(.*))?", re.DOTALL)
_MARK = re.compile("\0([0-9]+)\0")
_REFERENCE = re.compile(rf"\s*sweep\.({KEY})\s*")

_FORMS = "${NAME}, ${NAME:-default}, ${{ sweep.KEY }}, or $${ for the two characters ${"
_SHELL_FORMS = "${{ sweep.KEY }}, or $${{ for the three characters ${{"


@dataclass(frozen=True)
class Reference:
    """A value of the sweep, known by its key."""

    key: str


@dataclass(frozen=True)
class Template:
    """Text with holes for values of the sweep.

    Attributes:
        parts: Texts and holes.
        variables: The variables whose values are in the text.
    """

    parts: tuple[str | Reference, ...]
    variables: frozenset[str] = field(default=frozenset(), compare=False)

    def references(self) -> frozenset[str]:
        """Return the sweep keys it needs."""
        return frozenset(part.key for part in self.parts if isinstance(part, Reference))

    def fill(self, point: Mapping[str, str]) -> str:
        """Return the text at one point of a sweep."""
        return "".join(part if isinstance(part, str) else point[part.key] for part in self.parts)

    def __str__(self) -> str:
        return "".join(
            part if isinstance(part, str) else f"${{{{ sweep.{part.key} }}}}" for part in self.parts
        )


def template(text: str, environ: Mapping[str, str], *, shell: bool = False) -> Template:
    """Return text with the variables of the submitting environment put in.

    Args:
        text: As written in the spec.
        environ: The submitting environment.
        shell: The text is for a shell: `${NAME}` is left to it, and only `${{ sweep.KEY }}` is ours.

    Raises:
        Wrong: A variable without value and default, or a form that does not exist.
    """
    variables = frozenset() if shell else _variables(text)
    return Template(_joined(_parts(text, environ, shell=shell)), variables)


def command(text: str, environ: Mapping[str, str]) -> tuple[Template, ...]:
    """Return the words of a command; what is put in stays within its word, blanks or not.

    Raises:
        Wrong: As `template` and `words.split`.
    """
    parts = _parts(text, environ, shell=False)
    # Odd parts are holes; NUL cannot be in the text itself, since no program could be given it.
    marked = "".join(str(part) if index % 2 == 0 else f"\0{index}\0" for index, part in enumerate(parts))
    try:
        split = words.split(marked)
    except Wrong as wrong:
        wrong.got = Shown(text)
        raise
    return tuple(Template(_joined(_refilled(word, parts)), _variables(text)) for word in split)


def _refilled(word: str, parts: list[str | Reference]) -> list[str | Reference]:
    pieces = _MARK.split(word)
    return [piece if index % 2 == 0 else parts[int(piece)] for index, piece in enumerate(pieces)]


def literal(text: str) -> Template:
    """Return text that has no holes, whatever is in it."""
    return Template((text,) if text else ())


def _parts(text: str, environ: Mapping[str, str], *, shell: bool) -> list[str | Reference]:
    """Return text and holes in turn, text first and last."""
    parts: list[str | Reference] = []
    end = 0
    for match in (_SWEEP if shell else _BOTH).finditer(text):
        parts += [text[end : match.start()], _part(match, environ, shell)]
        end = match.end()
    return [*parts, text[end:]]


def _part(match: re.Match[str], environ: Mapping[str, str], shell: bool) -> str | Reference:
    written = match[0]
    if written.startswith("$$"):
        return written[1:]
    if match["sweep"] is not None:
        reference = _REFERENCE.fullmatch(match["sweep"])
        if reference is None:
            raise Wrong("not a value of the sweep", got=written, expected="${{ sweep.KEY }}")
        return Reference(reference[1])
    if shell or match["name"] is None:
        raise Wrong("not closed", got=written, expected=_SHELL_FORMS if shell else _FORMS)
    return _variable(match["name"], written, environ)


def _variable(text: str, written: str, environ: Mapping[str, str]) -> str:
    found = _VARIABLE.fullmatch(text)
    if found is None:
        raise Wrong("not a form of interpolation", got=written, expected=_FORMS)
    name, default = found[1], found[2]
    if default is None and name not in environ:
        expected = f"{name} in the environment, or a default: ${{{name}:-…}}"
        raise Wrong(f"{name} is not set", got=written, expected=expected)
    return environ.get(name, "") if default is None else environ.get(name) or default


def _variables(text: str) -> frozenset[str]:
    """Return the names of the variables that a text asks for."""
    return frozenset(match["name"].split(":")[0] for match in _BOTH.finditer(text) if match["name"])


def _joined(parts: list[str | Reference]) -> tuple[str | Reference, ...]:
    """Return the parts with neighbouring texts made one, so that equal templates compare equal."""
    joined: list[str | Reference] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part != "":
            joined.append(part)
    return tuple(joined)
