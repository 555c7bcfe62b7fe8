"""Read YAML text into values that remember how and where they were written.

PyYAML scans, parses and composes; its constructors are not used. A plain scalar becomes a `Plain`, text
together with what YAML 1.1 takes it for, so that each key decides for itself how to read it: `3.10` is text
for `env`, and `10:00:00` is ten hours for `time` although YAML 1.1 reads it as the number 36000.

Source: https://yaml.org/spec/1.1/, https://yaml.org/type/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from jobkit.errors import SpecError, complaint
from jobkit.spec.wrong import Path, Shown, Wrong

MAX_BYTES = 1 << 18  # PyYAML reads some 50 kB/s of the densest text
MAX_DEPTH = 20  # the spec itself needs 4
MAX_VALUES = 200_000  # after aliases are followed: what stops "billion laughs"

_CORE = "tag:yaml.org,2002:"
_MERGE = f"{_CORE}merge"


class Plain(str):
    """A scalar written without quotes.

    Attributes:
        yaml_type: What YAML 1.1 takes it for: str, int, float, bool, null, timestamp, merge or value.
    """

    yaml_type: str

    def __new__(cls, text: str, yaml_type: str) -> Plain:
        """Return `text` marked with its YAML 1.1 type."""
        plain = super().__new__(cls, text)
        plain.yaml_type = yaml_type
        return plain

    def __repr__(self) -> str:
        return repr(str(self)) if self.yaml_type == "str" else str(self) or "nothing"


def is_null(value: object) -> bool:
    """Return whether a value was written as null, ~ or nothing at all."""
    return value is None or (isinstance(value, Plain) and value.yaml_type == "null")


class Place(NamedTuple):
    """Where a value was written; `line` counts from 1 and is 0 for an override."""

    line: int
    source: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass
class Document:
    """The values of one YAML text.

    Attributes:
        value: Nested dict, list, Plain and str.
        places: Where each value was written, by its path; () is the document itself.
        wrongs: What is wrong already, with its place: keys given twice, tags, keys that are not text.
    """

    value: Any
    places: dict[Path, Place] = field(default_factory=dict)
    wrongs: list[tuple[Place, Wrong]] = field(default_factory=list)

    def place(self, path: Path) -> Place:
        """Return where `path` was written or, when it was not, the nearest section around it."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


def dotted(path: Path) -> str:
    """Return a path as its user writes it.

    >>> dotted(("sweep", "lr", 0))
    'sweep.lr.0'
    """
    text = ".".join(str(part) for part in path)
    return text if text.isprintable() else ascii(text)[1:-1]


def located(place: Place, path: Path) -> str:
    """Return the `where` of a complaint: `a.yaml:4: retries.failed`, or `--set retries.failed` just once."""
    key = dotted(path)
    return str(place) if not key or str(place) == f"--set {key}" else f"{place}: {key}"


class _Loader(yaml.SafeLoader):
    """A composer that stops at a depth, and notes explicit tags."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.tags: list[tuple[int, str]] = []

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        tag = getattr(event, "tag", None)
        if tag not in (None, "!", f"{_CORE}str"):
            self.tags.append((event.start_mark.line + 1, str(tag)))
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"nested more than {MAX_DEPTH} deep", problem_mark=event.start_mark
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read(text: str, source: str, *, lines: bool = True) -> Document:
    """Return the one document of a YAML text.

    Args:
        text: YAML 1.1.
        source: What to call the text in messages.
        lines: Whether its places have line numbers.

    Raises:
        SpecError: The text is not one YAML document, or nested or repeated beyond all use.
    """
    node, tags = _compose(text, source, lines)
    first = node.start_mark.line + 1 if node else 1
    document = Document(Plain("", "null"), {(): Place(first if lines else 0, source)})
    for line, tag in tags:
        wrong = Wrong("a YAML tag", got=tag.replace(_CORE, "!!"), expected="the value alone")
        document.wrongs.append((Place(line if lines else 0, source), wrong))
    if node is not None:
        document.value = _Converter(source, lines, document).convert(node, ())
    return document


def _compose(text: str, source: str, lines: bool) -> tuple[yaml.Node | None, list[tuple[int, str]]]:
    def place(line: int) -> str:
        return str(Place(line if lines else 0, source))

    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_node(), loader.tags
    except yaml.reader.ReaderError as error:
        what = "a binary file" if error.character == 0 else "a control character"
        shown = Shown(chr(error.character))
        where = place(text.count("\n", 0, error.position) + 1)
        raise SpecError(complaint(where, what, got=shown, expected="YAML text")) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        written = dict(enumerate(text.splitlines(), start=1)).get(line, "")
        raise SpecError(_syntax_complaint(place(line), error, written)) from None
    except (ValueError, OverflowError, IndexError) as error:
        # PyYAML lets a few of Python's own errors out, for escapes that name no character.
        wrong = f"not YAML: a number or an escape out of range ({type(error).__name__})"
        raise SpecError(complaint(place(loader.line + 1 if loader else 1), wrong)) from None
    finally:
        if loader is not None:
            loader.dispose()


def _syntax_complaint(where: str, error: yaml.MarkedYAMLError, written: str) -> str:
    problem = str(error.problem)
    if "single document" in str(error.context):
        return complaint(where, "a second document", expected="one spec a file, without another ---")
    if "\\t" in problem or re.match(r" *\t", written):
        return complaint(where, "a tab", expected="spaces, as YAML wants them")
    context = f" {error.context}" if error.context else ""
    return complaint(where, f"not YAML: {problem}{context}", hint=_syntax_hint(problem, written))


def _syntax_hint(problem: str, written: str) -> str:
    if re.search(r"[\[{:,] *[^'\" ]*\$\{", written):
        return "put text with ${NAME} in quotes where it stands inside { } or [ ]"
    if "mapping values are not allowed" in problem:
        return "put the value in quotes if its text has ': ' in it"
    return "put the value in quotes" if "cannot start any token" in problem else ""


class _Converter:
    """Turns the nodes of one document into its values; complaints go into the document."""

    def __init__(self, source: str, lines: bool, document: Document) -> None:
        self.source = source
        self.lines = lines
        self.document = document
        self.left = MAX_VALUES
        self.depth = 0

    def convert(self, node: yaml.Node, path: Path) -> Any:
        """Return the value of a node.

        Raises:
            SpecError: More values than any spec needs.
        """
        self.left -= 1
        place = self.place(node)
        self.document.places.setdefault(path, place)
        if self.left < 0 or self.depth > MAX_DEPTH:
            raise SpecError(complaint(str(place), "aliases that multiply without end", expected="fewer"))
        self.depth += 1
        value = self.content(node, path)
        self.depth -= 1
        return value

    def content(self, node: yaml.Node, path: Path) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.convert(item, (*path, index)) for index, item in enumerate(node.value)]
        return self.mapping(node.value, path)

    def place(self, node: yaml.Node) -> Place:
        return Place(node.start_mark.line + 1 if self.lines else 0, self.source)

    @staticmethod
    def scalar(node: yaml.ScalarNode) -> str:
        if node.style is None and node.tag.startswith(_CORE):
            return Plain(node.value, node.tag[len(_CORE) :])
        return str(node.value)

    def mapping(self, pairs: list[tuple[yaml.Node, yaml.Node]], path: Path) -> dict[str, Any]:
        """Return a mapping; what `<<` brings in is older than every key beside it."""
        found: dict[str, Any] = {}
        lines: dict[str, Place] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in pairs:
            if not isinstance(key_node, yaml.ScalarNode):
                self.complain(key_node, path, "not a key", expected="text before the colon")
                continue
            key = str(key_node.value)
            at = (*path, key)
            if key_node.tag == _MERGE and key_node.style is None:
                merged = {**self.merge(value_node, path), **merged}
            elif key in found:
                where = f"first on line {lines[key].line}" if self.lines else "both here"
                self.complain(key_node, at, f"given twice, {where}", expected="one of the two")
            else:
                lines[key] = self.document.places[at] = self.place(key_node)
                found[key] = self.convert(value_node, at)
        return {**merged, **found}

    def merge(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        """Return what `<<: NODE` brings in; of several mappings the first wins."""
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        result: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, yaml.MappingNode):
                self.complain(part, (*path, "<<"), "not a mapping to merge", expected="an alias of a mapping")
                continue
            result = {**self.convert(part, path), **result}
        return result

    def complain(self, node: yaml.Node, path: Path, wrong: str, *, expected: str) -> None:
        self.document.wrongs.append((self.place(node), Wrong(wrong, expected=expected, at=path)))
