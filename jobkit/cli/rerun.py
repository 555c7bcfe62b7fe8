"""Submit a job again, as a new job.

The same spec with the same options is read again, and --set comes on top; what it takes from the environment
is taken from today's. With --as-it-was the plan is the old job's, to the letter, and so are its files: those
of its snapshot, else of the commit and the uncommitted changes in its record, without files that git did not
know. Secrets and forwarded variables are taken from the environment again, since they are not kept.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.cli.sending import Wish
    from jobkit.jobs.find import Found
    from jobkit.plan import Plan

HELP = "submit a job again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `rerun` takes."""
    from jobkit.cli import submit

    parser.add_argument("job", metavar="JOB", help="id or its beginning, or `last`")
    parser.add_argument(
        "--as-it-was", action="store_true", help="use the old plan; do not read the spec again"
    )
    submit.add_shared(parser)


def run(args: argparse.Namespace) -> int:
    """Send the old wish once more."""
    from jobkit.cli import sending, submit
    from jobkit.errors import SpecError
    from jobkit.jobs import find

    found = find.one(args.job, os.environ)
    if found.point is not None:
        raise SpecError(f"JOB: a sweep is run again as a whole, got {args.job!r}")
    if args.as_it_was and args.overrides:
        raise SpecError("--set: changes the plan, and --as-it-was keeps it; use one of them")
    wish = _wish(found, tuple(args.overrides))
    if not args.as_it_was:
        return submit.submit_all([(wish, sending.planned(wish, dict(os.environ)))], args)
    with tempfile.TemporaryDirectory(prefix="jobkit-") as folder:
        return submit.submit_all([(wish, _old_plan(found, Path(folder)))], args)


def _wish(found: Found, overrides: tuple[str, ...]) -> Wish:
    from jobkit.cli.sending import Wish
    from jobkit.errors import SpecError, complaint
    from jobkit.jobs import folder, foreign, record

    if foreign.look(found.folder) is not None:
        wrong = "was started by another launcher, and jobkit does not know how"
        raise SpecError(complaint(f"job {found.id}", wrong, hint="start it again as it was started"))
    try:
        origin = record.read(found.folder).origin
        text = (found.folder / folder.SPEC).read_text()
    except (OSError, record.UnreadableError) as error:
        raise SpecError(f"job {found.id}: {error}") from error
    overrides = (*origin.overrides, *overrides)
    return Wish(origin.source, text, origin.cwd, origin.executor, origin.ranks, overrides, origin.args)


def _old_plan(found: Found, scratch: Path) -> Plan:
    """Return the plan of a job, with a working directory in which its files are what they were."""
    from dataclasses import replace

    from jobkit.cli import talk
    from jobkit.errors import SpecError
    from jobkit.jobs import checkout, folder, plan_file, record
    from jobkit.remote import login

    try:
        plan = plan_file.loads((found.folder / folder.PLAN).read_text())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpecError(f"job {found.id}: its plan cannot be read: {error}") from error
    is_there = plan.executor == "slurm" and (found.folder / folder.REMOTE).exists()
    if plan.snapshot:
        copy = login.snapshot(found.id) if is_there else str(found.folder / folder.SNAPSHOT)
        return replace(plan, workdir=copy)
    origin = record.read(found.folder).origin
    workdir = None
    if origin.git is not None and not is_there:
        workdir = checkout.restore(origin.git, Path(origin.cwd), Path(plan.workdir), scratch / "files")
    if workdir is None:
        talk.say(f"jobkit: no files of the old job were recorded: this one takes {plan.workdir} as it is now")
        return plan
    return replace(plan, workdir=str(workdir), snapshot=True)
