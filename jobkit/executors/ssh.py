"""Run a job on hosts that are reached over SSH, under a keeper on this machine."""

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
from jobkit.remote import places, tree

_KEEPER = "jobkit.remote.keeper"


def prepare(plan: Plan, job_id: str, spec_text: str, environ: Mapping[str, str]) -> Submission:
    """Return what `submit` will write, send and start; needs no host.

    Raises:
        SpecError: A name under `forward` or `secrets` is not set in `environ`.
    """
    made = local.prepare(plan, job_id, spec_text, environ)
    expected = places.expected(plan)
    is_sent = places.in_tree(plan) is not None
    hosts = ",".join(place.host for place in expected)
    return replace(
        made,
        files=(*made.files, File(places.FILE, 0o600, places.dumps(expected))),
        command=(sys.executable, "-m", _KEEPER, made.run_dir),
        snapshot=None,
        synced=(str(tree.root(plan.workdir)), f"{hosts}:{places.RUN_DIR}/tree") if is_sent else None,
    )


def submit(submission: Submission, environ: Mapping[str, str], origin: Origin) -> Path:
    """Make the hosts ready, all or none, and start the job's keeper; return its run folder here.

    Raises:
        SpecError: The id is taken, here or there.
        SubmitError: Hosts cannot be used, with a complaint about each; or the keeper did not start.
    """
    from jobkit.remote.arrival import Arrival

    plan = plan_file.loads(next(str(file.text) for file in submission.files if file.path == folder.PLAN))
    with Arrival(submission.job_id, plan, environ) as arrival:

        def arrive(staged: Path) -> None:
            files.replace(staged / places.FILE, places.dumps(arrival.everywhere()).encode())

        return local.submit(submission, environ, origin, arrive)
