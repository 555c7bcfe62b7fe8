"""Submit specs. Their jobs run on this machine, through Slurm, or on hosts over SSH.

Prints the id of each job. Words after `--` are appended to the command of each spec. Without --wait or
--follow the jobs run on by themselves; with --wait, ^C and TERM cancel them, and the exit status is that of
the rank that failed first. In a step of GitHub Actions it also annotates the specs, and adds the jobs to the
summary of the step.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.cli.sending import Wish
    from jobkit.jobs.find import Found
    from jobkit.plan import Plan

HELP = "submit specs, and print the ids of the jobs"
_SET = "replace a value, SECTION.KEY for one in a section; VALUE is YAML; repeatable"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `submit` takes."""
    from jobkit.cli import dashes

    parser.usage = "jobkit submit SPEC... [options] [-- ARGS]"
    add = parser.add_argument
    add(
        "specs",
        metavar="SPEC",
        nargs="+",
        help="YAML file; several are submitted one after the other, and watched together",
    )
    add(
        "--executor",
        metavar="E",
        help="another executor than the spec's makes this a smoke test (local, slurm or ssh)",
    )
    add("-n", dest="ranks", metavar="TOTAL", type=int, help="ranks in all, in place of the spec's")
    add_shared(parser)
    dashes.keep_apart(parser)


def add_shared(parser: argparse.ArgumentParser) -> None:
    """Declare what `submit` and `rerun` both take."""
    add = parser.add_argument
    add("--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[], help=_SET)
    add("--dry-run", action="store_true", help="print exactly what would be sent, and stop")
    add("--id", metavar="ID", help="the job's id (default: time, name and four characters)")
    add("--wait", action="store_true", help="wait for the end; exit with the job's status")
    add(
        "--follow",
        action="store_true",
        help="pass on what the ranks write, until the end; without --wait, ^C ends only this",
    )
    add(
        "--json",
        action="store_true",
        help="print events, a line of JSON each; with --dry-run, the submission",
    )
    add("--junit", metavar="FILE", help="write a JUnit report at the end (implies --wait)")


def run(args: argparse.Namespace) -> int:
    """Submit every spec; with --wait or --follow, watch the jobs."""
    from jobkit.errors import JobkitError

    try:
        return _run(args)
    except JobkitError as error:
        if args.wait:
            from jobkit.cli import actions

            actions.refused(str(error), os.environ)
        raise


def _run(args: argparse.Namespace) -> int:
    from jobkit.cli import folder, sending
    from jobkit.errors import SpecError
    from jobkit.spec import read_text

    if args.id and len(args.specs) > 1:
        raise SpecError("--id: names one job, got several specs")
    if args.junit is not None:
        from jobkit.cli import watching

        watching.check_junit(args.junit)
    cwd = folder.current()
    options = (args.executor, args.ranks, tuple(args.overrides), args.args)
    wishes = [sending.Wish(spec, read_text(spec), cwd, *options) for spec in args.specs]
    plans = sending.all_planned(wishes, dict(os.environ))
    return submit_all(list(zip(wishes, plans, strict=True)), args)


def submit_all(work: list[tuple[Wish, Plan]], args: argparse.Namespace) -> int:
    """Show what would be sent, or send it and watch the jobs, as the arguments say."""
    if args.dry_run:
        return _show(work, args)
    jobs: list[Found] = []
    wait = args.wait or args.junit is not None
    if not (wait or args.follow):
        return _send_all(work, args, jobs)
    from jobkit.cli import watching

    def body() -> int:
        status = _send_all(work, args, jobs)
        if not jobs:
            return status
        ended = watching.to_the_end(jobs, with_output=args.follow, as_json=args.json, junit_file=args.junit)
        return status or ended

    return watching.owning(jobs, body, args.junit) if wait else body()


def _send_all(work: list[tuple[Wish, Plan]], args: argparse.Namespace, jobs: list[Found]) -> int:
    """Send what can be sent; return the status of the first that could not, or raise it if it is alone."""
    from jobkit.cli import sending, talk
    from jobkit.errors import JobkitError

    environ, status = dict(os.environ), 0
    for wish, plan in work:
        try:
            submission = sending.prepared(wish, plan, args.id, environ)
            jobs.append(sending.announced(submission))
            sending.send(wish, submission, environ)
        except JobkitError as error:
            if len(work) == 1:
                raise
            talk.error(f"{wish.source}: {error}")
            if args.wait:
                from jobkit.cli import actions

                actions.refused(f"{wish.source}: {error}", environ)
            jobs[:] = [job for job in jobs if job.exists]
            status = status or error.exit_status
            continue
        except KeyboardInterrupt:
            _announce(jobs[-1:], args)
            raise
        _announce(jobs[-1:], args)
    return status


def _announce(jobs: list[Found], args: argparse.Namespace) -> None:
    """Print the ids of jobs that were submitted."""
    from jobkit.cli import events

    for found in jobs:
        if not found.exists:
            continue
        if args.json:
            events.emit("submitted", id=found.id, run_dir=str(found.folder))
        else:
            print(found.id, flush=True)


def _show(work: list[tuple[Wish, Plan]], args: argparse.Namespace) -> int:
    from jobkit.cli import sending, talk
    from jobkit.jobs import plan_file
    from jobkit.jobs.submission import to_json

    for wish, plan in work:
        submission = sending.prepared(wish, plan, args.id, dict(os.environ))
        for note in submission.notes:
            talk.say(f"jobkit: {note}")
        print(plan_file.text(to_json(submission)) if args.json else str(submission).rstrip())
    return 0
