"""List jobs, the newest last."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobkit.jobs.find import Found
    from jobkit.jobs.index import Entry, Index

HELP = "list jobs"
# The most important first: a narrow terminal drops the last ones.
COLUMNS = ("JOB", "STATE", "EXIT", "TOOK", "RANKS", "CREATED", "EXECUTOR", "NAME", "REASON")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `list` takes."""
    about = "print a list of what `status --json` prints, without `failure`"
    parser.add_argument("--json", action="store_true", help=about)


def run(args: argparse.Namespace) -> int:
    """Print every job."""
    from jobkit.cli import tables
    from jobkit.jobs import find

    if args.json:
        jobs = [shown for found in find.every(os.environ) if (shown := describe(found)) is not None]
        jobs.sort(key=lambda job: (job["created"] or "", job["id"]))
        tables.print_json(jobs)
    else:
        tables.print_table(COLUMNS, rows(os.environ))
    return 0


def rows(environ: Mapping[str, str]) -> list[list[str]]:
    """Return the rows of the table; of jobs that have ended they are kept from one time to the next."""
    from jobkit.jobs import find, home, index

    names = find.names(environ)
    kept = index.Index(home.home(environ))
    base = str(home.jobs(environ))
    entries = [entry for name in names if (entry := _entry(base, name, kept, environ)) is not None]
    kept.save(names)
    return [entry.cells for entry in sorted(entries, key=lambda entry: (entry.created, entry.cells[0]))]


def _entry(base: str, name: str, kept: Index, environ: Mapping[str, str]) -> Entry | None:
    from jobkit.jobs import find, index

    stamp = index.stamp(f"{base}/{name}")
    entry = kept.get(name, stamp)
    if entry is not None and len(entry.cells) == len(COLUMNS):
        return entry
    found = find.listed(name, environ)
    job = describe(found)
    if job is None:
        return None
    entry = index.Entry(job["created"] or "", job["executor"], job["scheduler_id"], _row(job))
    if _has_ended(found):
        kept.put(found.id, stamp, entry)
    return entry


def _has_ended(found: Found) -> bool:
    """Tell whether a job's own record says that it has ended: an end that was only found out may change."""
    from jobkit.jobs import record

    try:
        return record.read(found.folder).state in record.ENDED
    except record.UnreadableError:
        return False


def describe(found: Found) -> dict[str, Any] | None:
    """Return what `status --json` shows; an unreadable job is shown as lost, one just removed is None."""
    from jobkit.jobs import record, truth

    try:
        return record.status_json(truth.look(found.folder, ask=False))
    except record.UnreadableError as error:
        if not found.folder.exists() and not found.link.is_symlink():
            return None
        return record.unreadable_json(found.id, str(error))


def _row(job: dict[str, Any]) -> list[str]:
    from jobkit.jobs import clock

    ranks = len(job["ranks"]) or sum(len(task["ranks"]) for task in job["tasks"])
    told = job["exit"]["class"] if job["exit"] else ""
    created = (job["created"] or "")[:19].replace("T", " ")
    took = ""
    if job["started"]:
        end = job["ended"] or clock.rfc3339(clock.now())
        took = clock.duration(clock.seconds_between(job["started"], end))
    points = f"{len(job['tasks'])} x {ranks // len(job['tasks'])}" if job["tasks"] else str(ranks)
    reason = (job["reason"] or "") if job["exit"] is None else ""
    return [job["id"], job["state"], told, took, points, created, job["executor"], job["name"], reason]
