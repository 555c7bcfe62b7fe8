"""List jobs, the newest last."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobkit.jobs.find import Found

HELP = "list jobs"
# The most important first: a narrow terminal drops the last ones.
COLUMNS = ("JOB", "STATE", "EXIT", "TOOK", "RANKS", "CREATED", "EXECUTOR", "NAME")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `list` takes."""
    parser.add_argument("--json", action="store_true", help="print a list of what `status --json` prints")


def run(args: argparse.Namespace) -> int:
    """Print every job."""
    from jobkit.cli import tables
    from jobkit.jobs import find

    jobs = [shown for found in find.every(os.environ) if (shown := describe(found)) is not None]
    jobs.sort(key=lambda job: (job["created"] or "", job["id"]))
    if args.json:
        tables.print_json(jobs)
    else:
        tables.print_table(COLUMNS, [_row(job) for job in jobs])
    return 0


def describe(found: Found) -> dict[str, Any] | None:
    """Return what `status --json` shows; an unreadable job is shown as lost, one just removed is None."""
    from jobkit.jobs import record, truth

    try:
        return record.status_json(truth.look(found.folder, ask=False))
    except record.UnreadableError as error:
        if not found.folder.exists() and not found.link.is_symlink():
            return None
        return record.unreadable_json(found.id, str(error))


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    from jobkit.jobs import clock

    ranks = len(job["ranks"]) or sum(len(task["ranks"]) for task in job["tasks"])
    told = job["exit"]["class"] if job["exit"] else ""
    created = (job["created"] or "")[:19].replace("T", " ")
    took = ""
    if job["started"]:
        end = job["ended"] or clock.rfc3339(clock.now())
        took = clock.duration(clock.seconds_between(job["started"], end))
    points = f"{len(job['tasks'])} x {ranks // len(job['tasks'])}" if job["tasks"] else str(ranks)
    return job["id"], job["state"], told, took, points, created, job["executor"], job["name"]
