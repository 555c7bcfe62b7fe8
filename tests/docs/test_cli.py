"""`docs/cli.md` is what the parser says: set JOBKIT_REGENERATE=1 to write it anew."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from jobkit.cli import parser

PAGE = Path(__file__).parent.parent.parent / "docs" / "cli.md"
REGENERATE = "JOBKIT_REGENERATE" in os.environ  # read now: no test sees the variables of a launcher
HEAD = """# The command line

stdout is data (a job id, a script, a table, JSON); stderr is talk. This page is generated from the parser.
"""


def words(action: argparse.Action) -> str:
    """Return how an argument is written, for example `-n, --ranks N`."""
    value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    if isinstance(value, tuple):
        value = " ".join(value)
    if action.choices and not action.metavar:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return f"`{value or action.dest}`"
    return f"`{', '.join(action.option_strings)}{' ' + value if value and action.nargs != 0 else ''}`"


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the verbs of a parser, or the actions of a verb; none where it takes arguments alone."""
    known = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(known[0].choices) if known else {}


def section(name: str, sub: argparse.ArgumentParser) -> str:
    head = f"\n## jobkit {name}\n\n{(sub.description or '').strip()}\n"
    if actions := subcommands(sub):
        return head + "".join(section(f"{name} {action}", own) for action, own in actions.items())
    rows = [
        f"| {words(action)} | {(action.help or '') % {'default': action.default, 'prog': sub.prog}} |"
        for action in sub._actions
        if action.help is not argparse.SUPPRESS and action.dest != "help"
    ]
    table = "\n".join(["| argument | meaning |", "| --- | --- |", *rows]) if rows else "No arguments."
    return f"{head}\n{table}\n"


def reference() -> str:
    """Return the page that the parser implies."""
    return HEAD + "".join(section(verb, sub) for verb, sub in subcommands(parser()).items())


def test_the_page_is_what_the_parser_says() -> None:
    if REGENERATE:
        PAGE.write_text(reference())

    assert PAGE.read_text() == reference()
