"""Show a job: its state, its ranks, and how it ended.

Of a job that failed: the rank that failed first, what it wrote last, what the flight recorders of its ranks
say ("rank 3 never entered all_sum #412"), and what to try.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.jobs.find import Found
    from jobkit.jobs.record import JobExit, RankRecord, Record, TaskRecord

HELP = "show a job"
_RANKS = ("RANK", "HOST", "PID", "EXIT", "STARTED", "ENDED")
_POINTS = ("POINT", "VALUES", "STATE", "ATTEMPT", "EXIT")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `status` takes."""
    parser.add_argument(
        "job", metavar="JOB", help="id or its beginning, `last`, or ID/POINT for a point of a sweep"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(args: argparse.Namespace) -> int:
    """Print what is true about a job now."""
    from jobkit.cli import tables
    from jobkit.jobs import failure, find, watch

    found = find.one(args.job, os.environ)
    known = watch.look(found)
    if args.json:
        tables.print_json(failure.status_json(found.base, known))
    else:
        _print(found, known)
    return 0


def _print(found: Found, known: Record) -> None:
    from jobkit.cli import tables

    lines = {
        "job": known.id,
        "name": known.name,
        "executor": known.executor + (f" (job {known.scheduler_id})" if known.scheduler_id else ""),
        "state": known.state + (f" ({known.reason})" if known.reason else ""),
        "exit": _exit(known.exit) if known.exit else None,
        "attempt": str(known.attempt) if known.attempt > 1 else None,
        "created": known.created,
        "started": known.started,
        "ended": known.ended,
        "folder": str(found.folder),
    }
    for name, value in lines.items():
        if value is not None:
            print(f"{name:9} {value}")
    print()
    if known.is_sweep:
        tables.print_table(_POINTS, [_point(task) for task in known.tasks])
    else:
        tables.print_table(_RANKS, [_rank(rank) for rank in known.tasks[0].ranks])
    _print_failure(found, known)


def _exit(exit_: JobExit) -> str:
    plain = exit_.kind == f"exit {exit_.status}"
    return str(exit_.status) if plain else f"{exit_.status} ({exit_.kind})"


def _print_failure(found: Found, known: Record) -> None:
    from jobkit.jobs import exits, failure

    first = failure.first(found.base, known)
    if first is None:
        return
    point = "" if first.task.point is None else f"point {first.task.point}, "
    print(f"\nfailed first: {point}{exits.explained(first.task)}")
    for line in failure.lines(first):
        print(line)


def _point(task: TaskRecord) -> tuple[str, ...]:
    values = " ".join(f"{name}={value}" for name, value in task.values.items())
    told = task.exit.kind if task.exit else ""
    return task.point or "", values, task.state, str(task.attempt), told


def _rank(rank: RankRecord) -> tuple[str, ...]:
    from jobkit.jobs import exits

    told = exits.kind(rank.status, rank.signal) if rank.status is not None else ""
    told += " (ended with the job)" if rank.ended_by_jobkit else ""
    pid = "" if rank.pid is None else str(rank.pid)
    return str(rank.rank), rank.host or "", pid, told, rank.started or "", rank.ended or ""
