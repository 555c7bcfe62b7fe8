"""Submit a job from here through a login node: its working tree first, then the job, exactly once."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections.abc import Mapping
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
    staged, lock = create.stage(submission, environ, origin)
    try:
        try:
            login = logins.read(staged)
            assert login is not None, "prepare has written it"
            there = _arrived(login, environ)
            with interrupts.deferred():
                run_dir = create.publish(staged, submission, environ)
        except BaseException:
            create.discard(staged)
            raise
        with interrupts.deferred():
            _send(run_dir, login, there, environ, origin)
    finally:
        os.close(lock)
    return run_dir


def _say(text: str) -> None:
    print(f"jobkit: {text}", file=sys.stderr, flush=True)


def _arrived(login: Login, environ: Mapping[str, str]) -> str:
    """Send the working tree; return where it is there."""
    try:
        talk = session.get(login.login, login.python or session.PYTHON)
        _check_version(talk)
        return sync.send(talk, Path(login.root), environ, _say)
    except BaseException:
        session.drop(login.login, login.python or session.PYTHON)
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


def _send(run_dir: Path, login: Login, tree: str, environ: Mapping[str, str], origin: Origin) -> None:
    """Have the job submitted there, and write down what is known of it.

    It carries its id from here: asked for once more, it is not submitted again.

    Raises:
        JobkitError: It was not, or nobody knows.
    """
    known = record.read(run_dir)
    try:
        _asked(known, run_dir, login, tree, environ, origin)
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


def _asked(
    known: record.Record,
    run_dir: Path,
    login: Login,
    tree: str,
    environ: Mapping[str, str],
    origin: Origin,
) -> None:
    python = login.python or session.PYTHON
    for attempt in range(_TRIES):
        try:
            talk = session.get(login.login, python)
            body = _body(known, run_dir, logins.there(_plan(run_dir), tree, talk.python), environ, origin)
            talk.ask({"ask": "submit"}, body)
            return
        except LostError as error:
            session.drop(login.login, python)
            if attempt == _TRIES - 1:
                raise
            _say(f"{error}; asking again")
            time.sleep(random.uniform(0.5, 1.5) * 2**attempt / 2)


def _plan(run_dir: Path) -> Plan:
    return plan_file.loads((run_dir / folder.PLAN).read_text())


def _body(
    known: record.Record, run_dir: Path, plan: Plan, environ: Mapping[str, str], origin: Origin
) -> bytes:
    """Return what is sent for a job; its values travel over the connection and nowhere else."""
    given = {name: environ[name] for name in (*plan.forward, *plan.secrets)}
    there: dict[str, Any] = asdict(replace(origin, cwd=plan.workdir))
    del there["submitter"], there["jobkit"]
    # So that it can be run again on the login node.
    there["overrides"] = (*origin.overrides, "slurm.login=null")
    asked = {
        "id": known.id,
        "token": mirror.token(known, environ),
        "plan": plan_file.dumps(plan),
        "spec": (run_dir / folder.SPEC).read_text(),
        "environ": given,
        "origin": there,
    }
    return plan_file.text(asked).encode()
