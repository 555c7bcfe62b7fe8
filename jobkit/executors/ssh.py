"""Run a job on hosts that are reached over SSH, under a keeper on this machine or on the first of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jobkit.executors import local
from jobkit.jobs import files, folder, plan_file
from jobkit.jobs.record import Origin
from jobkit.jobs.submission import File, Submission
from jobkit.plan import Plan
from jobkit.remote import package, places, tree

_KEEPER, _DETACHED = "jobkit.remote.keeper", "jobkit.remote.detached"


def prepare(plan: Plan, job_id: str, spec_text: str, environ: Mapping[str, str]) -> Submission:
    """Return what `submit` will write, send and start; needs no host.

    Raises:
        SpecError: A name under `forward` or `secrets` is not set in `environ`.
    """
    made = local.prepare(plan, job_id, spec_text, environ)
    expected = places.expected(plan)
    root = str(tree.root(plan.workdir))
    hosts = ",".join(place.host for place in expected)
    made = replace(
        made,
        files=(*made.files, File(places.FILE, 0o600, places.dumps(expected))),
        command=(sys.executable, "-m", _KEEPER, made.run_dir),
        snapshot=None,
        synced=(root, f"{hosts}:{places.RUN_DIR}/tree") if places.in_tree(plan) is not None else None,
    )
    return _detached(made, plan, root, expected[0]) if plan.ssh.detach else made


def _detached(made: Submission, plan: Plan, root: str, first: places.Place) -> Submission:
    """Return what is written and sent where the first host keeps the job, and its secrets."""
    from jobkit.remote import detaching, login

    kept = [file for file in made.files if file.path != folder.SECRETS]
    there = File(folder.REMOTE, 0o600, login.dumps(detaching.login(plan, root, first)))
    return replace(made, files=(*kept, there), command=("ssh", first.host, places.command(first)))


def submit(submission: Submission, environ: Mapping[str, str], origin: Origin) -> Path:
    """Make the hosts ready, all or none, and start the job's keeper; return its run folder here.

    Raises:
        SpecError: The id is taken, here or there.
        SubmitError: Hosts cannot be used, with a complaint about each; or the keeper did not start.
    """
    from jobkit.remote.arrival import Arrival

    plan = plan_file.loads(next(str(file.text) for file in submission.files if file.path == folder.PLAN))
    with Arrival(submission.job_id, plan, environ) as arrival:
        if plan.ssh.detach:
            from jobkit.remote import detaching

            return detaching.submit(submission, environ, origin, arrival, str(tree.root(plan.workdir)))

        def arrive(staged: Path) -> None:
            files.replace(staged / places.FILE, places.dumps(arrival.everywhere()).encode())

        return local.submit(submission, environ, origin, arrive)


def keep_here(
    plan: Plan, job_id: str, spec_text: str, hosts: str, environ: Mapping[str, str], origin: Origin
) -> Path:
    """Keep a detached job of which this machine is the first host; return its run folder here.

    Args:
        plan: The job's.
        job_id: The job's.
        spec_text: Its spec.
        hosts: Text of its places.
        environ: Of this machine, with what is forwarded, and secrets.
        origin: Where the job comes from.

    Raises:
        SpecError: The id is taken.
        SubmitError: The keeper did not start.
    """
    made = local.prepare(plan, job_id, spec_text, environ)
    words = package.words(places.loads(hosts)[0].package, _DETACHED)
    command = (sys.executable, *words, made.run_dir)
    sent = replace(made, files=(*made.files, File(places.FILE, 0o600, hosts)), command=command, snapshot=None)
    return local.submit(sent, environ, origin)
