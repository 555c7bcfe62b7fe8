"""Check specs and say what is wrong with them; nothing is started."""

from __future__ import annotations

import argparse
import json
import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobkit.plan import Plan

HELP = "check specs, start nothing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `jobkit validate`."""
    parser.add_argument("specs", nargs="+", metavar="SPEC", help="YAML file")
    parser.add_argument(
        "--executor", metavar="E", help="check for this executor (local, slurm or ssh) in place of the spec's"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help="replace a value, SECTION.KEY for one in a section; VALUE is YAML; repeatable",
    )
    parser.add_argument("--json", action="store_true", help="print a list with one result for each file")


def run(args: argparse.Namespace) -> int:
    """Check every file; the status is 2 when something is wrong with one of them."""
    from jobkit.errors import Exit

    results = [_check(path, args.executor, args.overrides) for path in args.specs]
    for result in results:
        _talk(result)
    if args.json:
        print(json.dumps(results, indent=2))
    else:
        for result in results:
            if result["ok"]:
                print(f"{result['file']}: ok ({_summary(result)})")
    return Exit.OK if all(result["ok"] for result in results) else Exit.USAGE


def _check(path: str, executor: str | None, overrides: list[str]) -> dict[str, Any]:
    from jobkit.cli import folder
    from jobkit.errors import SpecError
    from jobkit.plan import plan
    from jobkit.spec import load

    cwd = folder.current()
    try:
        spec = load(path, os.environ, overrides)
        planned = plan(spec, cwd=cwd, executor=executor, environ=os.environ)
    except SpecError as error:
        return {"file": path, "ok": False, "complaints": _complaints(str(error)), "notes": []}
    return {"file": path, "ok": True, "complaints": [], **_facts(planned)}


def _complaints(text: str) -> list[str]:
    """Return one text for each complaint; a hint stays with its own."""
    return re.split(r"\n(?!\n|hint:)", text)


def _facts(planned: Plan) -> dict[str, Any]:
    names = ("name", "executor", "ranks", "nodes", "backend", "notes")
    return {name: getattr(planned, name) for name in names} | {"tasks": len(planned.tasks)}


def _summary(result: dict[str, Any]) -> str:
    counts = [_counted(result["ranks"], "rank"), _counted(result["nodes"], "node"), result["executor"]]
    if result["tasks"] > 1:
        counts.append(f"{result['tasks']} points")
    return ", ".join(counts)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _talk(result: dict[str, Any]) -> None:
    from jobkit.cli import talk

    for note in result["notes"]:
        talk.say(f"{result['file']}: {note}")
    if not result["ok"]:
        text = "\n".join(result["complaints"])
        talk.error(text)
        if os.environ.get("GITHUB_ACTIONS"):
            from jobkit.cli import actions

            actions.refused(text, os.environ)
