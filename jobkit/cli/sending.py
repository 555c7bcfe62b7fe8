"""From a spec to a job: what `submit` and `rerun` share."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jobkit
from jobkit import executors
from jobkit.cli import talk
from jobkit.errors import SpecError
from jobkit.jobs import clock, find, ids, process, provenance
from jobkit.jobs.find import Found
from jobkit.jobs.record import Origin
from jobkit.jobs.submission import Submission
from jobkit.plan import Plan, plan


@dataclass(frozen=True)
class Wish:
    """A spec and what the command line lays over it.

    Attributes:
        source: The spec's path, for messages and the default name.
        text: Its text.
        cwd: Where relative paths start.
        executor, ranks, overrides, args: `--executor`, `-n`, `--set`, and what follows `--`.
    """

    source: str
    text: str
    cwd: str
    executor: str | None = None
    ranks: int | None = None
    overrides: tuple[str, ...] = ()
    args: tuple[str, ...] = ()


def planned(wish: Wish, environ: Mapping[str, str]) -> Plan:
    """Return what a wish means here.

    Raises:
        SpecError: The spec is wrong, or cannot be honoured.
    """
    from jobkit.spec import parse

    spec = parse(wish.text, wish.source, environ, overrides=wish.overrides)
    here = partial(plan, spec, executor=wish.executor, ranks=wish.ranks, args=wish.args)
    if spec.slurm.login is not None and (wish.executor or spec.executor) == "slurm":
        from jobkit.remote import login

        # Paths, interpreter and inherited variables are the login node's.
        return here(cwd=login.cwd(spec, wish.cwd), python=login.PYTHON)
    if (wish.executor or spec.executor) == "ssh":
        from jobkit.cli import ssh_hosts

        # What is set here is not set there.
        return ssh_hosts.planned(
            spec,
            wish.cwd,
            partial(plan, cwd=wish.cwd, executor=wish.executor, ranks=wish.ranks, args=wish.args),
        )
    return here(cwd=wish.cwd, environ=environ)


def all_planned(wishes: list[Wish], environ: Mapping[str, str]) -> list[Plan]:
    """Return what several wishes mean; the complaints about all of them come at once."""
    plans, complaints = [], []
    for wish in wishes:
        try:
            plans.append(planned(wish, environ))
        except SpecError as error:
            complaints.append(str(error))
    if complaints:
        raise SpecError("\n".join(complaints))
    return plans


def prepared(wish: Wish, plan: Plan, job_id: str | None, environ: Mapping[str, str]) -> Submission:
    """Return what would be sent.

    Raises:
        SpecError: A job of `after` is not known, or a secret is missing.
        SubmitError: The executor is not in this version.
    """
    plan = replace(plan, after=tuple(_full_id(job, environ) for job in plan.after))
    if job_id is None:
        job_id = ids.new_id(plan.name, clock.now(), os.urandom(2).hex())
    job_id = ids.checked(job_id)
    if plan.slurm.login is not None:
        from jobkit.remote import login, submission

        return submission.prepare(plan, login.of(plan, wish.cwd), job_id, wish.text, environ)
    return executors.load(plan.executor).prepare(plan, job_id, wish.text, environ)


def _full_id(job: str, environ: Mapping[str, str]) -> str:
    try:
        found = find.one(job, environ)
    except SpecError as error:
        raise SpecError(f"after: {error}") from error
    return found.id if found.point is None else f"{found.id}/{found.point}"


def announced(submission: Submission) -> Found:
    """Return the job that a submission is going to be."""
    return Found(submission.job_id, Path(submission.run_dir))


def send(wish: Wish, submission: Submission, environ: Mapping[str, str]) -> None:
    """Submit."""
    for note in submission.notes:
        talk.say(f"jobkit: {note}")
    submit = executors.load(submission.executor).submit
    if submission.synced is not None and submission.executor == "slurm":
        from jobkit.remote.submission import submit
    submit(submission, environ, _origin(wish))


def _origin(wish: Wish) -> Origin:
    me = process.identify(os.getpid())
    assert me is not None, "this process runs"
    return Origin(
        argv=tuple(sys.argv),
        cwd=wish.cwd,
        source=wish.source,
        executor=wish.executor,
        ranks=wish.ranks,
        overrides=wish.overrides,
        args=wish.args,
        jobkit=jobkit.__version__,
        git=provenance.git(Path(wish.cwd)),
        submitter=me,
    )
