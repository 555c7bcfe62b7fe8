"""Wait until a job has ended, and exit with its status. ^C stops the waiting, not the job.

In a step of GitHub Actions it also annotates the specs of jobs that failed, and adds the jobs to its summary.
"""

from __future__ import annotations

import argparse
import os

HELP = "wait until jobs have ended, and exit with their status"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `wait` takes."""
    parser.add_argument(
        "jobs",
        metavar="JOB",
        nargs="+",
        help="id or its beginning, `last`, or ID/POINT for a point of a sweep",
    )
    parser.add_argument("--json", action="store_true", help="print events, a line of JSON each")
    parser.add_argument("--junit", metavar="FILE", help="write a JUnit report at the end")


def run(args: argparse.Namespace) -> int:
    """Return the status of the job that failed first."""
    from jobkit.cli import watching
    from jobkit.jobs import find

    watching.check_junit(args.junit)
    jobs = [find.one(job, os.environ) for job in args.jobs]
    return watching.to_the_end(jobs, as_json=args.json, junit_file=args.junit)
