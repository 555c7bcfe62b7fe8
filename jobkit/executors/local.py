"""Run a job on this machine, under a keeper that outlives the command line."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from jobkit.env import names
from jobkit.errors import SubmitError
from jobkit.jobs import (
    clock,
    create,
    environment,
    exits,
    folder,
    home,
    interrupts,
    plan_file,
    record,
    secret_file,
)
from jobkit.jobs.record import Origin
from jobkit.jobs.submission import File, Submission
from jobkit.plan import Plan

_KEEPER = "jobkit.jobs.keeper"
# A Python that imports from a slow file system takes seconds, not minutes.
_START_S = 120.0
_ALWAYS = (names.JOB, *names.PLACEMENT, names.ATTEMPT, names.RUN_DIR)
_SEVERAL = (names.BACKEND, names.GANG_FILE, names.TOKEN_FILE, names.VICTIM_FILE, "MLX_RANK", "MLX_WORLD_SIZE")
_JACCL = ("MLX_IBV_DEVICES", "MLX_JACCL_COORDINATOR")
_OF_BACKEND = {
    "any": ("MLX_HOSTFILE",),  # what it is where there is neither CUDA nor an RDMA mesh
    "ring": ("MLX_HOSTFILE",),
    "jaccl": _JACCL,
    "jaccl-ring": (*_JACCL, "MLX_JACCL_RING"),
    "nccl": ("NCCL_HOST_IP", "NCCL_PORT", "CUDA_VISIBLE_DEVICES"),
    "mpi": (),
}


def prepare(plan: Plan, job_id: str, spec_text: str, environ: Mapping[str, str]) -> Submission:
    """Return what `submit` will write and start.

    Raises:
        SpecError: A name under `forward` or `secrets` is not set in `environ`.
    """
    environment.check({"forward": plan.forward, "secrets": plan.secrets}, environ)
    forward = environment.taken("forward", plan.forward, environ)
    run_dir = (Path(plan.run_dir) if plan.run_dir else home.jobs(environ)) / job_id
    files = [File(folder.SPEC, 0o600, spec_text), File(folder.PLAN, 0o600, plan_file.dumps(plan))]
    if plan.secrets:
        files.append(File(folder.SECRETS, 0o600, None))
    return Submission(
        job_id=job_id,
        name=plan.name,
        executor=plan.executor,
        run_dir=str(run_dir),
        files=tuple(files),
        command=(sys.executable, "-m", _KEEPER, str(run_dir)),
        environ={**forward, **env_of_all(plan), **dict.fromkeys(plan.secrets)},
        secrets=plan.secrets,
        after_placement=after_placement(plan),
        snapshot=plan.workdir if plan.snapshot else None,
        notes=plan.notes,
    )


def env_of_all(plan: Plan) -> dict[str, str | None]:
    """Return the variables of `env`; None for those that differ between the points of a sweep."""
    every = dict.fromkeys(name for task in plan.tasks for name in task.env)
    values = {name: {task.env.get(name) for task in plan.tasks} for name in every}
    return {name: found.pop() if len(found) == 1 else None for name, found in values.items()}


def after_placement(plan: Plan) -> tuple[str, ...]:
    """Return the variables that the shim will set for the ranks of a plan."""
    if plan.backend == ("none",):
        return _ALWAYS
    if plan.ranks == 1:
        return (*_ALWAYS, *names.TORCH)
    chosen = [name for backend in plan.backend for name in _OF_BACKEND[backend]]
    return (*_ALWAYS, *_SEVERAL, *dict.fromkeys(chosen), *names.TORCH)


def submit(
    submission: Submission,
    environ: Mapping[str, str],
    origin: Origin,
    first: Callable[[Path], None] = lambda _: None,
) -> Path:
    """Create the job's run folder and start its keeper; return the folder.

    Args:
        submission: What is written and started.
        environ: The submitting environment.
        origin: Where the job comes from.
        first: Called with the folder before it is anybody's: what it raises ends the submission.

    Raises:
        SpecError: The id is taken.
        SubmitError: The run folder cannot be written, or the keeper did not start.
    """
    staged, lock = create.stage(submission, environ, origin)
    try:
        try:
            first(staged)
        except BaseException:
            create.discard(staged)
            raise
        with interrupts.deferred():
            try:
                run_dir = create.publish(staged, submission, environ)
            except BaseException:
                create.discard(staged)
                raise
            _start_keeper(submission, run_dir, environ, lock)
    finally:
        os.close(lock)
    return run_dir


def _start_keeper(submission: Submission, run_dir: Path, environ: Mapping[str, str], lock: int) -> None:
    """Start the keeper and wait until it has taken the job over.

    Its standard input is the lock of the run folder, its standard output a pipe on which it says so.
    """
    plan = plan_file.loads((run_dir / folder.PLAN).read_text())
    forward = environment.taken("forward", plan.forward, environ)
    given = environment.of_keeper(submission.job_id, environ, forward, plan.secrets)
    ready, says_ready = os.pipe()
    with os.fdopen(ready, "rb") as answer, (run_dir / folder.LOG).open("ab") as log:
        try:
            keeper = subprocess.Popen(
                submission.command, cwd="/", env=given, stdin=lock, stdout=says_ready, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise _failed(run_dir, f"{submission.command[0]}: {error.strerror}") from error
        finally:
            os.close(says_ready)
        # It answers, or the pipe closes because it has died.
        readable, _, _ = select.select([answer], [], [], _START_S)
        answered = answer.read(1) if readable else None
    if answered is None:
        (run_dir / folder.CANCEL).touch(mode=0o600)  # in case that it comes to itself
        raise SubmitError(f"job {submission.job_id}: its keeper has not started within {_START_S:.0f} s")
    keeper.wait()
    if not answered:
        raise _failed(run_dir, (run_dir / folder.LOG).read_text(errors="replace").strip())


def _failed(run_dir: Path, why: str) -> SubmitError:
    """Write down that the job was never kept; the lock is still the submitter's."""
    secret_file.erase(run_dir)
    now = clock.rfc3339(clock.now())
    reason = f"its keeper did not start: {why}"
    known = record.read(run_dir)
    tasks = tuple(
        replace(task, state=record.LOST, reason=reason, exit=exits.LOST, ended=now) for task in known.tasks
    )
    record.write(run_dir, record.settled(replace(known, tasks=tasks)), last=True)
    return SubmitError(f"job {known.id}: {reason}")
