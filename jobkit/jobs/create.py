"""Create the run folder of a job, from a submission, in one step that is either done or not."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from jobkit.errors import SubmitError, complaint
from jobkit.jobs import clock, environment, files, folder, home, plan_file, record, secret_file, snapshot
from jobkit.jobs.record import Origin, RankRecord, Record, TaskRecord
from jobkit.jobs.submission import Submission, to_json
from jobkit.plan import Plan


def stage(submission: Submission, environ: Mapping[str, str], origin: Origin) -> tuple[Path, int]:
    """Write everything into a hidden folder; return it and the descriptor that holds its lock.

    Raises:
        SpecError: The id is taken, or a secret is not in `environ`.
        SubmitError: The folder cannot be written.
    """
    run_dir = Path(submission.run_dir)
    secrets = environment.taken("secrets", submission.secrets, environ)
    for taken in (run_dir, _link(submission, environ)):
        if os.path.lexists(taken):
            raise folder.refusal(submission.job_id)
    try:
        home.make(environ)
        staged = folder.stage(run_dir)
    except OSError as error:
        raise _unwritable(run_dir.parent, error) from error
    lock = folder.hold(staged)
    try:
        _fill(staged, submission, origin, secrets, home.jobs(environ))
    except BaseException as error:
        os.close(lock)
        discard(staged)
        if isinstance(error, OSError):
            raise _unwritable(run_dir, error) from error
        raise
    return staged, lock


def publish(staged: Path, submission: Submission, environ: Mapping[str, str]) -> Path:
    """Give a staged folder its name; return it.

    Raises:
        SpecError: Another job took the id in the meantime.
    """
    run_dir = Path(submission.run_dir)
    folder.publish(staged, run_dir, _link(submission, environ))
    return run_dir


def discard(staged: Path) -> None:
    """Remove a staged folder that is not to become a job."""
    shutil.rmtree(staged, ignore_errors=True)


def _link(submission: Submission, environ: Mapping[str, str]) -> Path:
    return home.jobs(environ) / submission.job_id


def _unwritable(path: Path, error: OSError) -> SubmitError:
    return SubmitError(complaint(f"run_dir: {path}", f"cannot be written: {error.strerror}"))


def _fill(
    staged: Path, submission: Submission, origin: Origin, secrets: Mapping[str, str], jobs: Path
) -> None:
    plan = plan_file.loads(next(str(file.text) for file in submission.files if file.path == folder.PLAN))
    files.create(staged / folder.LOG, b"")
    for task in plan.tasks:
        folder.task_folder(staged, task.point).mkdir(mode=0o700, exist_ok=True)
    for file in submission.files:
        data = secret_file.dumps(secrets) if file.text is None else file.text.encode()
        files.create(staged / file.path, data, file.mode)
    _keep_copy(staged, submission)
    if submission.snapshot is not None:
        runs = (jobs, staged.parent) if plan.run_dir is not None else (jobs,)
        snapshot.take(Path(submission.snapshot), staged / folder.SNAPSHOT, exclude=(*runs, staged))
    known = first_record(submission, plan, origin)
    if not record.write(staged, known):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(staged))
    # At its end the record has the hosts, processes and times that it lacks now.
    files.take_ballast(staged, max(files.BALLAST_BYTES, 3 * len(record.dumps(known))))


def _keep_copy(staged: Path, submission: Submission) -> None:
    sent = staged / folder.SUBMISSION
    sent.mkdir(mode=0o700)
    text = plan_file.text(to_json(submission), indent=1) + "\n"
    files.create(sent / "submission.json", text.encode())


def first_record(submission: Submission, plan: Plan, origin: Origin) -> Record:
    """Return the record of a job that is about to be submitted."""
    ranks = tuple(RankRecord(rank) for rank in range(plan.ranks))
    tasks = tuple(TaskRecord(t.point, dict(t.values), record.SUBMITTING, ranks=ranks) for t in plan.tasks)
    created = clock.rfc3339(clock.now())
    return Record(
        submission.job_id, submission.name, submission.executor, record.SUBMITTING, created, tasks, origin
    )
