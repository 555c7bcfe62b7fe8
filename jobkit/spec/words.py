"""Split a command into words as a shell would, and refuse what only a shell can do."""

from __future__ import annotations

import re

from jobkit.spec.wrong import Wrong

_PIECE = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<single>'[^']*')
      | (?P<double>"(?:\\.|[^"\\])*")
      | (?P<escape>\\.)
      | (?P<bare>[^ \t\r\n'"\\]+)""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPED_IN_DOUBLE = re.compile(r'\\(["\\])')
_OPERATOR = re.compile(r"\|\|?|&&?|;|[<>].*|\d>.*|&>.*|(.*[^\\])?;", re.DOTALL)  # a whole word
_EXPANSION = re.compile(r"\$[A-Za-z_(][A-Za-z0-9_]*|`")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")

_SHELL = "`shell: true`, or quotes around text that is meant as it stands"


def split(text: str) -> tuple[str, ...]:
    r"""Return the words of a command that is run without a shell.

    Quotes and backslashes mean what they mean to `shlex.split`.

    >>> split("python -c 'print(1)' a\\ b")
    ('python', '-c', 'print(1)', 'a b')

    Raises:
        Wrong: A quote is not closed, there are no words, or the text needs a shell: several lines, a pipe, a
            redirection, `$NAME`, an assignment before the command.
    """
    words: list[str] = []
    raw = word = ""
    for kind, piece in _pieces(text.strip(" \t\r\n")):
        if kind != "space":
            raw, word = raw + piece, word + _unquoted(kind, piece)
            continue
        if "\n" in piece:
            raise Wrong("several lines", got=text, expected=_SHELL)
        words.append(_checked(raw, word, first=not words))
        raw = word = ""
    if not raw:
        raise Wrong("no command", expected="a program, then its arguments")
    words.append(_checked(raw, word, first=not words))
    return tuple(words)


def _pieces(text: str) -> list[tuple[str, str]]:
    pieces: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _PIECE.match(text, position)
        if match is None:
            what = (
                "a backslash at the end"
                if text[position] == "\\"
                else f"a {text[position]} that is not closed"
            )
            raise Wrong(what, got=text[position:], expected="a command that a shell could read")
        pieces.append((str(match.lastgroup), match[0]))
        position = match.end()
    return pieces


def _unquoted(kind: str, piece: str) -> str:
    if kind == "single":
        return piece[1:-1]
    if kind == "escape":
        return piece[1:]
    if kind == "double":
        return _ESCAPED_IN_DOUBLE.sub(r"\1", piece[1:-1])
    found = _EXPANSION.search(piece)
    if found:
        name = found[0][1:]
        braces = f"${{{name}}}, " if name.isidentifier() else ""
        raise Wrong("only a shell replaces this", got=found[0], expected=f"{braces}{_SHELL}")
    return piece


def _checked(raw: str, word: str, *, first: bool) -> str:
    if _OPERATOR.fullmatch(raw):
        raise Wrong("only a shell understands this", got=raw, expected=_SHELL)
    assignment = _ASSIGNMENT.match(raw) if first else None
    if assignment:
        expected = f"the program first; variables go under env: {{{assignment[1]}: …}}"
        raise Wrong("a variable where the program is expected", got=raw, expected=expected)
    return word
