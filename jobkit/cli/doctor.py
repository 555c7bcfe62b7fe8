"""Look for what would fail, before it waits in a queue.

Without a spec: this machine. With one: also what its executor needs; for Slurm the very script goes through
`sbatch --test-only`, and a step of seconds looks at a node; over SSH every host is asked. The exit status is
1 when something would fail.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.doctor.row import Question, Row

HELP = "look for what would fail, before it is queued"
COLUMNS = ("STATE", "CHECK", "FOUND")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `doctor` takes."""
    add = parser.add_argument
    add("spec", metavar="SPEC", nargs="?", help="YAML file")
    add("--executor", metavar="E", help="check for this executor in place of the spec's")
    add(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="replace a value of the spec; repeatable",
    )
    add("--no-run", action="store_true", help="start nothing: no step looks at a node")
    add("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print every check; the status is 1 when something would fail."""
    from dataclasses import asdict

    from jobkit.cli import tables
    from jobkit.doctor import examine
    from jobkit.doctor.row import FAILS
    from jobkit.errors import Exit

    asked, refused = question(args)
    rows = [*refused, *examine(asked)]
    fails = any(row.state == FAILS for row in rows)
    if args.json:
        tables.print_json({"ok": not fails, "checks": [asdict(row) for row in rows]})
    else:
        _print(rows)
    return Exit.FINDING if fails else Exit.OK


def question(args: argparse.Namespace) -> tuple[Question, list[Row]]:
    """Return what the checks are about, and a row where the executor refuses the spec.

    Raises:
        SpecError: The spec is wrong.
    """
    from jobkit.cli import folder, sending
    from jobkit.doctor.row import FAILS, Question, Row
    from jobkit.errors import SubmitError
    from jobkit.spec import read_text

    if args.spec is None:
        return Question(os.environ, may_run=not args.no_run), []
    wish = sending.Wish(
        args.spec,
        read_text(args.spec),
        folder.current(),
        executor=args.executor,
        overrides=tuple(args.overrides),
    )
    plan = sending.planned(wish, os.environ)
    try:
        submission = sending.prepared(wish, plan, None, os.environ)
    except SubmitError as error:
        return Question(os.environ), [Row("spec", FAILS, str(error), "change the spec")]
    return Question(os.environ, plan, submission, not args.no_run), []


def _print(rows: list[Row]) -> None:
    from jobkit.cli import tables
    from jobkit.doctor.row import OK

    for line in tables.plain(COLUMNS, [(row.state, row.check, " ".join(row.found.split())) for row in rows]):
        print(line)
    hints = [f"hint: {row.check}: {row.remedy}" for row in rows if row.remedy and row.state != OK]
    if hints:
        print("", *hints, sep="\n")
