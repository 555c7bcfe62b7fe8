"""Show what `jobkit exec` would set here, or in a recorded environment, and why."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.env.placement import Facts

HELP = "show what `exec` would set here, and why"
_LARGEST = 1 << 24  # bytes read of a recorded environment


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
    import sys

    from jobkit.env import explain, recording
    from jobkit.env.backends import parse
    from jobkit.env.detect import detect
    from jobkit.env.facts import facts
    from jobkit.errors import Exit

    if args.from_:
        environ, known = _recorded(args.from_)
    else:
        environ, known = dict(os.environ), facts(os.environ, every=bool(args.record))
    if args.record:
        _write(args.record, json.dumps(recording.record(environ, known), indent=2) + "\n")
    found = detect(environ, known)
    shown = explain.variables(found, environ, parse(args.backend))
    if args.json:
        text = json.dumps(explain.to_json(found, shown), indent=2)
    else:
        text = explain.to_text(found, shown, explain=args.explain)
    if found.placement is None and not (args.json or args.explain):
        sys.stderr.write(f"jobkit: no rank: {found.reason}\n")
    if text:
        # Values need not be UTF-8.
        sys.stdout.buffer.write(os.fsencode(f"{text}\n"))
    return Exit.OK


def _recorded(path: str) -> tuple[dict[str, str], Facts]:
    from pathlib import Path

    from jobkit.env import recording
    from jobkit.errors import SpecError, complaint

    try:
        with Path(path).open("rb") as file:
            return recording.recorded(file.read(_LARGEST))
    except OSError as error:
        raise SpecError(complaint(path, f"cannot be read ({error.strerror})")) from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        wrong = f"not a recorded environment ({error})"
        raise SpecError(
            complaint(path, wrong, expected="the output of `env`, or what --record wrote")
        ) from error


def _write(path: str, text: str) -> None:
    from pathlib import Path

    from jobkit.env.files import write_private
    from jobkit.errors import LaunchError, SpecError, complaint

    target = Path(path).absolute().resolve()
    if target.exists() and not target.is_file():
        # A pipe, /dev/stdout: what is there takes the text, and stays.
        try:
            target.write_text(text, errors="surrogateescape")
        except OSError as error:
            raise SpecError(complaint(path, f"cannot be written ({error.strerror})")) from error
        return
    if not target.parent.is_dir():
        raise SpecError(complaint(path, "cannot be written (no such folder)"))
    try:
        write_private(str(target), text)
    except LaunchError as error:
        raise SpecError(str(error)) from error
