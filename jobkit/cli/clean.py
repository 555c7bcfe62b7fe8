"""Remove the records and logs of jobs that have ended.

Without JOB: of all that ended more than --older-than ago (7d), or with --all of every one. A job that has not
ended is never removed, nor one whose scheduler does not know it while something is written in its folder.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.jobs.find import Found

HELP = "remove the records and logs of ended jobs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `clean` takes."""
    add = parser.add_argument
    add("jobs", metavar="JOB", nargs="*", help="id or its beginning, or `last`")
    add(
        "--older-than",
        metavar="TIME",
        help="only jobs that ended at least so long ago, such as 12h (default without JOB: 7d)",
    )
    add("--all", action="store_true", help="remove every job that has ended")
    add("--dry-run", action="store_true", help="print what would be removed, and stop")


def run(args: argparse.Namespace) -> int:
    """Print the id of each job that was removed."""
    from jobkit.errors import SpecError
    from jobkit.jobs import find, removal

    if args.all and (args.jobs or args.older_than):
        raise SpecError("--all: means every job that has ended, without JOB and --older-than")
    named = [find.one(job, os.environ) for job in args.jobs]
    _refuse_points(named)
    age_s = None if args.all or (named and not args.older_than) else _age_s(args.older_than or "7d")
    chosen = [found for found in named or find.every(os.environ) if removal.is_due(found, age_s)]
    status = _tell_kept(named, chosen) if age_s is None else 0
    for found in chosen:
        if not args.dry_run:
            removal.remove(found)
        print(found.id, flush=True)
    if not args.dry_run:
        removal.remove_leftovers(os.environ)
    return status


def _age_s(text: str) -> float:
    from jobkit.errors import SpecError, complaint
    from jobkit.spec import units
    from jobkit.spec.wrong import Wrong

    try:
        return units.seconds(text)
    except Wrong as wrong:
        raise SpecError(complaint("--older-than", wrong.wrong, got=text, expected=wrong.expected)) from None


def _refuse_points(named: list[Found]) -> None:
    from jobkit.errors import SpecError

    for found in named:
        if found.point is not None:
            raise SpecError(f"JOB: a sweep is removed as a whole, got '{found.id}/{found.point}'")


def _tell_kept(named: list[Found], chosen: list[Found]) -> int:
    from jobkit.cli import talk
    from jobkit.errors import Exit

    kept = [found for found in named if found not in chosen]
    for found in kept:
        wrong = "has not ended for certain, so it is not removed"
        talk.error(f"job {found.id}: {wrong}\n\nhint: jobkit status {found.id}; jobkit cancel {found.id}")
    return Exit.USAGE if kept else Exit.OK
