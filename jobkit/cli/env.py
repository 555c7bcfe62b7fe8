"""Show what `jobkit exec` would set here, or in a recorded environment, and why."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.env.placement import Facts

HELP = "show what `exec` would set here, and why"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("--backend", default="any", metavar="B", help="the backend to set variables for (any)")
    add(
        "--explain", action="store_true", help="show the source of each variable, and what each detector said"
    )
    add("--json", action="store_true", help="print JSON")
    add(
        "--from",
        dest="from_",
        metavar="FILE",
        help="explain this environment: the output of the program `env`, or what --record wrote",
    )
    add("--record", metavar="FILE", help="write the environment to FILE, without the values of secrets")


def run(args: argparse.Namespace) -> int:
    """Print the variables; 0 when there is an answer, also where this process is no rank."""
    import json
    import os

    from jobkit.env import explain
    from jobkit.env.backends import parse
    from jobkit.env.detect import detect
    from jobkit.env.facts import facts
    from jobkit.errors import Exit

    if args.from_:
        environ, known = _recorded(args.from_)
    else:
        environ, known = dict(os.environ), facts(os.environ)
    if args.record:
        _write(args.record, json.dumps(explain.record(environ, known), indent=2) + "\n")
    found = detect(environ, known)
    shown = explain.variables(found, environ, parse(args.backend))
    as_json = args.json and json.dumps(explain.to_json(found, shown), indent=2)
    print(as_json or explain.to_text(found, shown, explain=args.explain))
    return Exit.OK


def _recorded(path: str) -> tuple[dict[str, str], Facts]:
    from pathlib import Path

    from jobkit.env import explain
    from jobkit.errors import SpecError, complaint

    try:
        return explain.recorded(Path(path).read_text())
    except OSError as error:
        raise SpecError(complaint(path, f"cannot be read ({error.strerror})")) from error
    except (ValueError, LookupError, TypeError) as error:
        wrong = f"not a recorded environment ({error})"
        raise SpecError(
            complaint(path, wrong, expected="the output of `env`, or what --record wrote")
        ) from error


def _write(path: str, text: str) -> None:
    from pathlib import Path

    from jobkit.errors import SpecError, complaint

    try:
        Path(path).write_text(text)
    except OSError as error:
        raise SpecError(complaint(path, f"cannot be written ({error.strerror})")) from error
