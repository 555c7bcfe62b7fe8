"""`docs/cli.md` and the manual are what the parser says: set JOBKIT_REGENERATE=1 to write them anew."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from argparse_manpage.manpage import Manpage

from jobkit.cli import parser

PAGE = Path(__file__).parent.parent.parent / "docs" / "cli.md"
MANUAL = PAGE.with_name("jobkit.1")
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


def manual() -> str:
    """Return the manual page that the parser implies."""
    with pytest.MonkeyPatch.context() as context:
        context.setenv("COLUMNS", "1000")  # whoever shows the page breaks its lines
        whole = parser()
        whole.man_short_description = "start the ranks of distributed programs"
        _give_usages("jobkit", whole)
        page = Manpage(whole)
        page.date, page.manual = "", "User Commands"
        lines = [line.rstrip() for line in str(page).splitlines()]
    return "\n".join(lines) + "\n"


def _give_usages(name: str, whole: argparse.ArgumentParser) -> None:
    """Give every verb a usage of one line: argparse's own depends on the terminal and on Python's version."""
    for verb, sub in subcommands(whole).items():
        positionals = [words(each).strip("`") for each in sub._actions if not each.option_strings]
        sub.usage = sub.usage or " ".join([name, verb, "[options]", *positionals])
        _give_usages(f"{name} {verb}", sub)


@pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="argparse writes short options otherwise from 3.13 on"
)
def test_the_manual_is_what_the_parser_says() -> None:
    if REGENERATE:
        MANUAL.write_text(manual())

    assert MANUAL.read_text() == manual()


def test_the_manual_can_be_read() -> None:
    if shutil.which("groff") is None:
        pytest.skip("no groff on this machine")
    command = ["groff", "-man", "-Tutf8", "-ww", str(MANUAL)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert [verb for verb in subcommands(parser()) if verb not in done.stdout] == []
