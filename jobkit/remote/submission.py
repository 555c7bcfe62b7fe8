"""Submit a job from here through a login node: its working tree first, then the job, exactly once."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jobkit
from jobkit.errors import SpecError, SubmitError, complaint
from jobkit.jobs import create, environment, folder, home, interrupts, plan_file, record
from jobkit.jobs.record import Origin
from jobkit.jobs.submission import File, Submission
from jobkit.plan import Plan
from jobkit.remote import login as logins
from jobkit.remote import mirror, session, sync
from jobkit.remote.connection import LostError
from jobkit.remote.login import Login

# How often it is asked again whether a job was taken when the connection broke before the answer.
_TRIES = 6
# Makes what a machine is asked, of a job's record and folder here.
Making = Callable[[record.Record, Path, session.Session], bytes]


def prepare(plan: Plan, login: Login, job_id: str, spec_text: str, environ: Mapping[str, str]) -> Submission:
    """Return what `submit` will send; needs no connection.

    Raises:
        SpecError: A name under `forward` or `secrets` is not set in `environ`.
    """
    environment.check({"forward": plan.forward, "secrets": plan.secrets}, environ)
    given = environment.taken("forward", plan.forward, environ)
    shown = given | (plan.tasks[0].env if len(plan.tasks) == 1 else {})
    return Submission(
        job_id=job_id,
        name=plan.name,
        executor=plan.executor,
        run_dir=str(home.jobs(environ) / job_id),
        files=(
            File(folder.SPEC, 0o600, spec_text),
            File(folder.PLAN, 0o600, plan_file.dumps(plan)),
            File(folder.REMOTE, 0o600, logins.dumps(login)),
        ),
        command=("ssh", login.login, session.command(login.python or session.PYTHON)),
        environ={**shown, **dict.fromkeys(plan.secrets)},
        secrets=plan.secrets,
        notes=plan.notes,
        synced=(login.root, f"{login.login}:{logins.TREE}"),
    )


def submit(submission: Submission, environ: Mapping[str, str], origin: Origin) -> Path:
    """Send the working tree and the job; return the job's folder here.

    Raises:
        SpecError: The id is taken, here or there.
        SubmitError: The login node cannot be used, or Slurm refuses the job.
    """

    def arrive(staged: Path) -> tuple[Login, Making]:
        login = logins.read(staged)
        assert login is not None, "prepare has written it"
        tree = _arrived(login, environ)

        def make(known: record.Record, run_dir: Path, talk: session.Session) -> bytes:
            plan = logins.there(_plan(run_dir), tree, talk.python)
            # So that it can be run again on the login node.
            return body(known, run_dir, plan, environ, origin, "slurm.login=null")

        return login, make

    return through(submission, environ, origin, arrive)


def through(
    submission: Submission,
    environ: Mapping[str, str],
    origin: Origin,
    arrive: Callable[[Path], tuple[Login, Making]],
) -> Path:
    """Have a job submitted by another machine, exactly once; return the job's folder here.

    Args:
        submission: What is written here.
        environ: The submitting environment.
        origin: Where the job comes from.
        arrive: Given the folder before it is anybody's, makes the other machine ready; returns which it is,
            and what makes the text of what it is asked.

    Raises:
        SpecError: The id is taken, here or there.
        SubmitError: It was not submitted, or nobody knows.
    """
    staged, lock = create.stage(submission, environ, origin)
    try:
        try:
            login, make = arrive(staged)
            with interrupts.deferred():
                run_dir = create.publish(staged, submission, environ)
        except BaseException:
            create.discard(staged)
            raise
        with interrupts.deferred():
            _send(run_dir, login, make)
    finally:
        os.close(lock)
    return run_dir


def _say(text: str) -> None:
    print(f"jobkit: {text}", file=sys.stderr, flush=True)


def _arrived(login: Login, environ: Mapping[str, str]) -> str:
    """Send the working tree; return where it is there."""
    try:
        talk = session.get(*login.key)
        _check_version(talk)
        return sync.send(talk, Path(login.root), environ, _say)
    except BaseException:
        session.drop(*login.key)
        raise


def _check_version(talk: session.Session) -> None:
    """Refuse a machine without jobkit, and tell one with another version."""
    if talk.jobkit is None:
        raise SubmitError(complaint(talk.login, f"{talk.python} has no jobkit", hint=_install(talk)))
    if talk.jobkit != jobkit.__version__:
        wrong = f"has jobkit {talk.jobkit}, and this is {jobkit.__version__}"
        _say(f"warning: {talk.login} {wrong}; {_install(talk)}")


def _install(talk: session.Session) -> str:
    return f"ssh {talk.login} {talk.python} -m pip install jobkit=={jobkit.__version__}"


def _send(run_dir: Path, login: Login, make: Making) -> None:
    """Have the job submitted there, and write down what is known of it.

    It carries its id from here: asked for once more, it is not submitted again.

    Raises:
        JobkitError: It was not, or nobody knows.
    """
    known = record.read(run_dir)
    try:
        _asked(known, run_dir, login, make)
    except LostError as error:
        hint = f"jobkit status {known.id} says whether it was; do not submit it again before"
        wrong = f"and it is not known whether job {known.id} was submitted"
        raise SubmitError(complaint(str(error), wrong, hint=hint)) from error
    except SpecError:
        folder.remove(run_dir)  # a job of this id there is another one
        raise
    except SubmitError:
        with contextlib.suppress(LostError):
            if mirror.fetched(run_dir, known, login) is None:
                folder.remove(run_dir)
        raise
    mirror.fetched(run_dir, known, login)


def _asked(known: record.Record, run_dir: Path, login: Login, make: Making) -> None:
    for attempt in range(_TRIES):
        try:
            talk = session.get(*login.key)
            talk.ask({"ask": "submit"}, make(known, run_dir, talk))
            return
        except LostError as error:
            session.drop(*login.key)
            if attempt == _TRIES - 1:
                raise
            _say(f"{error}; asking again")
            time.sleep(random.uniform(0.5, 1.5) * 2**attempt / 2)


def _plan(run_dir: Path) -> Plan:
    return plan_file.loads((run_dir / folder.PLAN).read_text())


def body(
    known: record.Record,
    run_dir: Path,
    plan: Plan,
    environ: Mapping[str, str],
    origin: Origin,
    *overrides: str,
    **more: str,
) -> bytes:
    """Return what is sent for a job; its values travel over the connection and nowhere else.

    Args:
        known: Its record here.
        run_dir: Its folder here.
        plan: Its plan there.
        environ: The submitting environment.
        origin: Where it comes from.
        *overrides: What is laid over its spec when it is run again there.
        **more: Sent as it is.
    """
    given = {name: environ[name] for name in (*plan.forward, *plan.secrets)}
    there: dict[str, Any] = asdict(replace(origin, cwd=plan.workdir))
    del there["submitter"], there["jobkit"]
    there["overrides"] = (*origin.overrides, *overrides)
    asked = {
        "id": known.id,
        "token": mirror.token(known, environ),
        "plan": plan_file.dumps(plan),
        "spec": (run_dir / folder.SPEC).read_text(),
        "environ": given,
        "origin": there,
        **more,
    }
    return plan_file.text(asked).encode()
