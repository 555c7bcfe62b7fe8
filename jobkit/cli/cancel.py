"""Cancel jobs or points of a sweep, and return when nothing of them runs any more."""

from __future__ import annotations

import argparse
import os

HELP = "cancel jobs"
# An agent leaves its ranks a few seconds between TERM and KILL.
_DEADLINE_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `cancel` takes."""
    parser.add_argument(
        "jobs",
        metavar="JOB",
        nargs="+",
        help="id or its beginning, `last`, or ID/POINT for a point of a sweep",
    )


def run(args: argparse.Namespace) -> int:
    """Cancel what has not ended; what has is left as it is."""
    from jobkit.cli import talk
    from jobkit.errors import SubmitError
    from jobkit.jobs import cancel, find, watch
    from jobkit.jobs.record import ENDED

    jobs = [find.one(job, os.environ) for job in args.jobs]
    before = [cancel.request(found) for found in jobs]
    after = watch.until_ended(jobs, deadline_s=_DEADLINE_S)
    for was, now in zip(before, after, strict=True):
        talk.say(f"{now.id}: {'has ended already: ' if was.state in ENDED else ''}{now.state}")
    late = [known.id for known in after if known.state not in ENDED]
    if late:
        raise SubmitError(f"not ended within {_DEADLINE_S:.0f} s of the request: {', '.join(late)}")
    return 0
