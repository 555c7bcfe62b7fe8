"""Submit a detached job: its keeper to the first host, outposts to the others; then nobody is needed here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jobkit.errors import JobkitError, SubmitError
from jobkit.jobs import files, folder, record
from jobkit.jobs.record import Origin
from jobkit.jobs.submission import Submission
from jobkit.plan import Plan
from jobkit.remote import login as logins
from jobkit.remote import mirror, package, places, session
from jobkit.remote import submission as sending
from jobkit.remote.arrival import Arrival, in_turns
from jobkit.remote.login import Login
from jobkit.remote.places import Place


def login(plan: Plan, root: str, place: Place) -> Login:
    """Return who is asked about the job: its first host."""
    return Login(place.host, place.python, root, plan.ssh.host_keys, place.package)


def submit(
    submission: Submission, environ: Mapping[str, str], origin: Origin, arrival: Arrival, root: str
) -> Path:
    """Make the hosts ready, all or none, and have the first one keep the job; return its folder here.

    Raises:
        SpecError: The id is taken, here or there.
        SubmitError: Hosts cannot be used, with a complaint about each.
    """
    found: list[Place] = []

    def arrive(staged: Path) -> tuple[Login, sending.Making]:
        found.extend(arrival.everywhere())
        first = login(arrival.plan, root, found[0])
        files.replace(staged / places.FILE, places.dumps(found).encode())
        files.replace(staged / folder.REMOTE, logins.dumps(first).encode())

        def make(known: record.Record, run_dir: Path, _talk: session.Session) -> bytes:
            plan = replace(arrival.plan, run_dir=None, notes=())
            hosts = places.dumps(found)
            return sending.body(known, run_dir, plan, environ, origin, hosts=hosts)

        return first, make

    run_dir = sending.through(submission, environ, origin, arrive)
    try:
        _post(arrival, found, environ)
    except BaseException:
        with contextlib.suppress(JobkitError):
            mirror.cancel(run_dir, submission.job_id)
        raise
    return run_dir


def _post(arrival: Arrival, found: Sequence[Place], environ: Mapping[str, str]) -> None:
    """Start the outposts.

    Raises:
        SubmitError: Some do not reach the keeper; with a complaint about each.
    """
    others = range(1, len(found))
    if not others:
        return
    call = arrival.talks[0].ask({"ask": "call", "id": arrival.job_id})[0]["call"]
    secrets = {name: environ[name] for name in arrival.plan.secrets}
    common = {**call, "slots": arrival.plan.parallel, "inherit": arrival.plan.inherit, "secrets": secrets}

    def start(node: int) -> None:
        brought = found[node].package
        words = package.words(brought, "jobkit.remote.outpost")
        about = json.dumps({**common, "node": node, "package": brought}).encode()
        arrival.talks[node].ask({"ask": "outpost", "id": arrival.job_id, "words": words}, about)

    errors = [str(answer) for answer in in_turns(start, others) if isinstance(answer, JobkitError)]
    if errors:
        raise SubmitError("\n".join(errors))
