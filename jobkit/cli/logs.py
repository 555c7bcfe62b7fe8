"""Show what the ranks of a job have written, standard output and standard error each on its own."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.jobs.find import Found
    from jobkit.jobs.follow import Follower

HELP = "show what the ranks of a job have written"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `logs` takes."""
    add = parser.add_argument
    add("job", metavar="JOB", help="id or its beginning, `last`, or ID/POINT for a point of a sweep")
    add("--rank", metavar="R", type=int, help="only this rank (default: all)")
    add("--attempt", metavar="K", type=int, help="only this attempt (default: the latest)")
    add("--follow", action="store_true", help="go on until the job has ended; ^C leaves it alone")
    add("--stderr", action="store_true", help="only standard error, written to standard output")


def run(args: argparse.Namespace) -> int:
    """Pass on the bytes of the ranks; with a prefix where there are several."""
    from jobkit.cli import watching
    from jobkit.jobs import find, follow

    found = find.one(args.job, os.environ)
    streams = (follow.ERR,) if args.stderr else (follow.OUT, follow.ERR)
    sinks = {follow.OUT: follow.Sink(watching.to_stream(follow.OUT))}
    sinks[follow.ERR] = follow.Sink(watching.to_stream(follow.OUT if args.stderr else follow.ERR))
    choice = follow.Choice(args.rank, streams, args.attempt)
    _check(found, args.rank, args.attempt)
    _pass_on(found, follow.Follower(found.base, choice, sinks), until_ended=args.follow)
    return 0


def _check(found: Found, rank: int | None, attempt: int | None) -> None:
    """Refuse a rank or an attempt that the job does not have."""
    from jobkit.errors import SpecError, complaint
    from jobkit.jobs import foreign, watch

    known = watch.look(found)
    if known.executor == foreign.EXECUTOR:
        wrong = "was started by another launcher, which has its ranks' output"
        raise SpecError(complaint(f"job {found.id}", wrong, hint=f"jobkit status {found.id}"))
    size = max(len(task.ranks) for task in known.tasks)
    if rank is not None and not 0 <= rank < size:
        raise SpecError(complaint("--rank", "no such rank", got=rank, expected=f"0 to {size - 1}"))
    if attempt is not None and not 1 <= attempt <= known.attempt:
        expected = f"1 to {known.attempt}" if known.attempt else "none: it has not started"
        raise SpecError(complaint("--attempt", "no such attempt", got=attempt, expected=expected))


def _pass_on(found: Found, follower: Follower, *, until_ended: bool) -> None:
    from jobkit.jobs import watch
    from jobkit.jobs.record import ENDED

    if not until_ended:
        follower.pump(watch.look(found), to_the_end=True)
        return
    watch.until_ended([found], on_look=lambda _, known: follower.pump(known, to_the_end=known.state in ENDED))
