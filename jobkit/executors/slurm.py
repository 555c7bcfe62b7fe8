"""Run a job through Slurm: sbatch takes a script whose srun starts the ranks, the shim before each."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jobkit.env import handover, names
from jobkit.errors import SubmitError, complaint
from jobkit.executors.local import after_placement, env_of_all
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
from jobkit.slurm import client, script

SCRIPT = "job.sbatch"
# The record and the exit status depend on these, so they are not for `slurm.extra` and `slurm.srun`.
_EXTRA = (
    "array chdir comment dependency error export get-user-env job-name kill-on-invalid-dep nodes ntasks "
    "ntasks-per-node open-mode output parsable quiet requeue signal test-only time wait wrap"
)
_SRUN = (
    "chdir error export input jobid kill-on-bad-exit label nodes ntasks ntasks-per-node output pty "
    "test-only wait"
)
_OURS = {"extra": frozenset(_EXTRA.split()), "srun": frozenset(_SRUN.split())}


def prepare(plan: Plan, job_id: str, spec_text: str, environ: Mapping[str, str]) -> Submission:
    """Return what `submit` will write and send; needs no Slurm.

    Raises:
        SpecError: A name under `forward` or `secrets` is not set in `environ`.
        SubmitError: A job of `after` has failed, or this version cannot do through Slurm what the plan has.
    """
    run_dir = str((Path(plan.run_dir) if plan.run_dir else home.jobs(environ)) / job_id)
    refused = _refused(plan, run_dir)
    if refused:
        raise SubmitError("\n".join(refused))
    environment.check({"forward": plan.forward, "secrets": plan.secrets}, environ)
    forward = environment.taken("forward", plan.forward, environ)
    workdir = f"{run_dir}/{folder.SNAPSHOT}" if plan.snapshot else plan.workdir
    after = _numbers(plan.after, environ) if plan.after else ()
    files = [
        File(folder.SPEC, 0o600, spec_text),
        File(folder.PLAN, 0o600, plan_file.dumps(plan)),
        File(SCRIPT, 0o600, script.render(plan, job_id, run_dir, workdir, after)),
        *_environ_files(plan, forward, _settings(plan, job_id)),
    ]
    if plan.secrets:
        files.append(File(folder.SECRETS, 0o600, None))
    return Submission(
        job_id=job_id,
        name=plan.name,
        executor=plan.executor,
        run_dir=run_dir,
        files=tuple(files),
        command=("sbatch", f"{run_dir}/{SCRIPT}"),
        environ={**forward, **env_of_all(plan), **dict.fromkeys(plan.secrets)},
        secrets=plan.secrets,
        after_placement=after_placement(plan),
        snapshot=plan.workdir if plan.snapshot else None,
        notes=(*plan.notes, *_notes(plan)),
    )


def _environ_files(plan: Plan, forward: Mapping[str, str], settings: Mapping[str, str]) -> list[File]:
    """Return what the ranks read: one file for all, and one for each point whose variables are its own."""
    variables = env_of_all(plan)
    common = {name: value for name, value in variables.items() if value is not None}
    files = [_environ_file("", {**forward, **common, **settings})]
    own = [name for name, value in variables.items() if value is None]
    if own:
        points = plan.tasks
        files += [_environ_file(f"{task.point}/", {name: task.env[name] for name in own}) for task in points]
    return files


def _environ_file(folder: str, variables: Mapping[str, str]) -> File:
    return File(folder + handover.ENVIRON, 0o600, plan_file.text(variables, indent=1) + "\n")


def _numbers(after: tuple[str, ...], environ: Mapping[str, str]) -> tuple[str, ...]:
    from jobkit.slurm import dependency

    return dependency.numbers(after, environ)


def _settings(plan: Plan, job_id: str) -> dict[str, str]:
    """Return what the shim is told beside the variables of the spec."""
    found = {
        names.JOB: job_id,
        names.CONNECTIONS_PER_IP: str(plan.connections_per_ip),
        names.GPUS_PER_RANK: str(plan.gpus_per_rank),
        names.SHARE_GPUS: "1" if plan.share_gpus else "",
        names.PORTS: "-".join(map(str, plan.ports or ())),
        names.SUBNET: plan.subnet or "",
        names.JACCL_HOSTFILE: plan.jaccl_hostfile or "",
    }
    return {name: value for name, value in found.items() if value}


def _notes(plan: Plan) -> tuple[str, ...]:
    if plan.time_s is None or plan.time_s % 60 == 0:
        return ()
    return (f"time: Slurm counts minutes, so the limit is {script.minutes(plan.time_s)} min",)


def _refused(plan: Plan, run_dir: str) -> list[str]:
    """Return a complaint about everything that would have to be ignored."""
    found: list[str] = []
    if any(":" in task.command for task in plan.tasks):
        hint = "shell: true, and the command in one text"
        found.append(complaint("run", "srun takes this word for its own", got=":", hint=hint))
    for section, options in (("extra", plan.slurm.extra), ("srun", plan.slurm.srun)):
        for name, value in options.items():
            if name in _OURS[section]:
                found.append(
                    complaint(f"slurm.{section}", "jobkit sets it", got=name, expected="another option")
                )
            if not value.isprintable():
                found.append(complaint(f"slurm.{section}.{name}", "more than one line", got=value))
    for key, value in (("run_dir", run_dir), ("python", plan.python)):
        # srun resolves only one %% of a path into %.
        if not value.isprintable() or "\\" in value or (key == "run_dir" and value.count("%") > 1):
            found.append(complaint(key, "a path that Slurm cannot write", got=value))
    return found


def submit(submission: Submission, environ: Mapping[str, str], origin: Origin) -> Path:
    """Ask Slurm whether the job could ever start, create its run folder, and send it once; return the folder.

    Raises:
        SpecError: The id is taken.
        SubmitError: Slurm refuses the job, or the run folder cannot be written.
    """
    staged, lock = create.stage(submission, environ, origin)
    try:
        given = _sent_environ(submission, environ)
        try:
            _check(staged, submission, given)
            with interrupts.deferred():
                run_dir = create.publish(staged, submission, environ)
        except BaseException:
            create.discard(staged)
            raise
        with interrupts.deferred():
            _send(submission, run_dir, given, lock)
    finally:
        os.close(lock)
    return run_dir


def _sent_environ(submission: Submission, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what sbatch gets and the job inherits: nothing of a launcher around this process, no secret."""
    plan = _plan(submission)
    given = environment.of_keeper(submission.job_id, environ, {}, submission.secrets)
    kept = environment.of_ranks(given, inherit=plan.inherit)
    return kept | {name: given[name] for name in ("SLURM_CONF",) if name in given}


def check(submission: Submission, environ: Mapping[str, str]) -> None:
    """Let Slurm say what it would do with a submission; nothing of it stays.

    Raises:
        SubmitError: It would never start it.
    """
    text = next(str(file.text) for file in submission.files if file.path == SCRIPT)
    with tempfile.TemporaryDirectory() as staged:
        (Path(staged) / SCRIPT).write_text(text)
        _check(Path(staged), submission, _sent_environ(submission, environ))


def _check(staged: Path, submission: Submission, given: Mapping[str, str]) -> None:
    """Let Slurm say what it would do with the script.

    Raises:
        SubmitError: It would never start it.
    """
    answer = client.call(("sbatch", "--test-only", str(staged / SCRIPT)), given)
    if answer.status:
        points = len(_plan(submission).tasks)
        most = client.longest_array(given) if points > 1 else None
        if most is not None and points > most:
            wrong = "more points than Slurm here takes in one job array (MaxArraySize)"
            hint = "make several sweeps of it"
            raise SubmitError(complaint("sweep", wrong, got=points, expected=f"at most {most}", hint=hint))
        raise SubmitError(complaint("sbatch", f"Slurm does not take the job: {answer.words}"))


def _plan(submission: Submission) -> Plan:
    return plan_file.loads(next(str(file.text) for file in submission.files if file.path == folder.PLAN))


def _send(submission: Submission, run_dir: Path, given: Mapping[str, str], lock: int) -> None:
    """Send the job, and write down its number.

    sbatch keeps the lock of the run folder open: until it has ended nobody takes the job for lost.

    Raises:
        SubmitError: Slurm did not take it, or nobody knows.
    """
    try:
        answer = client.call(submission.command, given, inherited=(lock,))
        number = script.job_number(answer.out) if answer.status == 0 else None
        wrong = f"sbatch: {answer.words}"
        if answer.status == 0:
            wrong = complaint("sbatch", "no number of a job in its answer", got=answer.words)
    except client.UnansweredError as error:
        number, wrong = None, str(error)
    known = record.read(run_dir)
    if number is None:
        number = _taken_anyway(known, run_dir, wrong)
    tasks = tuple(replace(task, state=record.QUEUED) for task in known.tasks)
    record.write(run_dir, record.settled(replace(known, scheduler_id=number, tasks=tasks)))
    if (run_dir / folder.CANCEL).exists():
        client.cancel(number, given)
    for task in tasks:
        if task.point is not None and (run_dir / task.point / folder.CANCEL).exists():
            client.cancel(f"{number}_{task.point}", given)


def _taken_anyway(known: record.Record, run_dir: Path, wrong: str) -> str:
    """Return the number of a job whose answer was lost.

    Raises:
        SubmitError: Slurm has no such job, or does not answer; then `status` will find it.
    """
    from jobkit.slurm import truth

    try:
        number = truth.number(known, run_dir, os.environ)
    except SubmitError as error:
        hint = f"jobkit status {known.id} says whether Slurm has it; do not submit it again before"
        raise SubmitError(
            complaint(wrong, f"and it is not known whether the job was taken ({error})", hint=hint)
        ) from error
    if number is not None:
        return number
    _failed(known, run_dir, wrong)
    raise SubmitError(f"job {known.id}: {wrong}")


def _failed(known: record.Record, run_dir: Path, why: str) -> None:
    """Write down that the job was never taken."""
    secret_file.erase(run_dir)
    now = clock.rfc3339(clock.now())
    tasks = tuple(
        replace(task, state=record.LOST, reason=why, exit=exits.LOST, ended=now) for task in known.tasks
    )
    record.write(run_dir, record.settled(replace(known, tasks=tasks)), last=True)
