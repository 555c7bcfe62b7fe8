"""The batch script of a job, rendered by submitit; srun starts the shim in it, and no pickle."""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from submitit.slurm.slurm import SlurmExecutor

from jobkit.plan import Plan
from jobkit.slurm import again
from jobkit.slurm.naming import COMMENT, LOG, LOG_OF_POINT

_POINT = '"$SLURM_ARRAY_TASK_ID"'
_PROLOGUE, _EPILOGUE = "jobkit.slurm.prologue", "jobkit.slurm.epilogue"
_SETUP, _MPI = "jobkit.slurm.setup", "jobkit.slurm.mpi"
# Of every step. The other tasks end when one fails, and not when one succeeds.
_STEP = {"input": "none", "kill-on-bad-exit": "1", "wait": "0"}
_END_OF_OPTIONS = "\n\n# setup\n"


class Script(SlurmExecutor):
    """submitit's executor with a command of jobkit's.

    Attributes:
        command: Lines of bash that start the ranks.
        left_out: Options of sbatch that are not to be in the script.
    """

    def __init__(self, folder: str, command: str, left_out: Collection[str]) -> None:
        super().__init__(folder)
        self.command = command
        self.left_out = frozenset(left_out)

    @classmethod
    def affinity(cls) -> int:
        """Say that Slurm is there: a script can be rendered on a machine without it."""
        return 2

    @property
    def _submitit_command_str(self) -> str:
        return self.command

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        head, setup, body = super()._make_submission_file_text(command, uid).partition(_END_OF_OPTIONS)
        lines = [line for line in head.splitlines() if _option(line) not in self.left_out]
        return "\n".join(lines) + setup + body

    def text(self) -> str:
        """Return the script."""
        return self._make_submission_file_text(self._submitit_command_str, uid="")


def job_number(answer: str) -> str | None:
    """Return the number in what sbatch printed, None where there is none."""
    from submitit.core.utils import FailedSubmissionError

    try:
        return str(Script._get_job_id_from_submission_command(answer))
    except FailedSubmissionError:
        return None


def _option(line: str) -> str:
    """Return the name of an option in a line: `#SBATCH --mem=16G` → `mem`."""
    return line.removeprefix("#SBATCH --").partition("=")[0] if line.startswith("#SBATCH --") else ""


def render(plan: Plan, job_id: str, run_dir: str, workdir: str, after: Sequence[str] = ()) -> str:
    """Return the script of a plan; a sweep is one job array, whose indices are its points.

    Args:
        plan: What is to be done.
        job_id: The job's id.
        run_dir: Its run folder.
        workdir: Where its ranks start.
        after: Numbers of the jobs that must have succeeded first.
    """
    # submitit would have every program killed by USR2 a minute and a half ahead of its time limit.
    left_out = plan.slurm.skip if plan.signal else (*plan.slurm.skip, "signal")
    script = Script(run_dir, _command(plan, run_dir, workdir), left_out)
    script.update_parameters(
        job_name=plan.name,
        comment=COMMENT + job_id,
        wckey=None,
        time=None if plan.time_s is None else minutes(plan.time_s),
        nodes=plan.nodes,
        ntasks_per_node=plan.ranks_per_node,
        cpus_per_task=plan.cpus_per_rank,
        gpus_per_node=_gpus(plan) or None,
        partition=plan.slurm.partition,
        account=plan.slurm.account,
        qos=plan.slurm.qos,
        constraint=plan.slurm.constraint,
        stderr_to_stdout=True,
        setup=_setup(plan, run_dir),
        teardown=_teardown(plan, run_dir),
        use_srun=False,  # the line that submitit writes cannot name the folder of an attempt
        additional_parameters=_more(plan, run_dir, after),
    )
    return script.text()


def _gpus(plan: Plan) -> int:
    """Return how many GPUs of each node are asked for; where ranks share them, as many as one rank has.

    `slurm.extra` may ask for more (`gpus-per-node: 2`).
    """
    return plan.gpus_per_rank * (1 if plan.share_gpus else plan.ranks_per_node)


def minutes(seconds: float) -> int:
    """Return a time limit as Slurm counts it."""
    return math.ceil(seconds / 60)


def _more(plan: Plan, run_dir: str, after: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "chdir": run_dir,
        "output": f"{pattern(run_dir)}/{LOG_OF_POINT if plan.is_sweep else LOG}",
        # Without retries a second run would not be the one that was asked for.
        "requeue" if _is_retried(plan) else "no-requeue": True,
    }
    if plan.is_sweep:
        found["array"] = f"0-{len(plan.tasks) - 1}%{plan.parallel}"
    if plan.memory_bytes is not None:
        found["mem"] = f"{math.ceil(plan.memory_bytes / 2**20)}M"
    if after:
        found["dependency"] = ":".join(("afterok", *after))
        found["kill-on-invalid-dep"] = "yes"  # it would wait for ever
    if plan.signal is not None:
        found["signal"] = f"{plan.signal.name}@{math.ceil(plan.signal.before_s)}"
    # As submitit writes the names of what it takes itself, so that these come in its place.
    return found | {name.replace("-", "_"): value or True for name, value in plan.slurm.extra.items()}


def pattern(path: str) -> str:
    """Return a path as a pattern of Slurm's, where % begins a symbol."""
    return path.replace("%", "%%")


def _setup(plan: Plan, run_dir: str) -> list[str]:
    return [
        "trap : TERM",  # by which Slurm ends a job; the end of the script is to see it, within KillWait
        "export JOBKIT_ATTEMPT=$((${SLURM_RESTART_COUNT:-0} + 1))",
        *(_later(plan, run_dir) if _is_retried(plan) else ()),
        f"mkdir -m 700 -p {_attempt(plan, run_dir)}",
    ]


def _is_retried(plan: Plan) -> bool:
    return any(asdict(plan.retries).values())


def _later(plan: Plan, run_dir: str) -> list[str]:
    """Return what ends an attempt at once that Slurm has started and `retries` does not allow."""
    start = shlex.join((plan.python, "-m", _PROLOGUE, run_dir))
    words = " ".join((start, '"$JOBKIT_ATTEMPT"', *([_POINT] if plan.is_sweep else [])))
    return [
        f'test "$JOBKIT_ATTEMPT" = 1 || over=$({words})',
        'test -z "${over:-}" || exit "$over"',
        f'echo "{again.mark("$JOBKIT_ATTEMPT")}"',
    ]


def _attempt(plan: Plan, run_dir: str) -> str:
    """Return the folder of an attempt, as bash reads it."""
    return f"{shlex.quote(run_dir)}{f'/{_POINT}' if plan.is_sweep else ''}/attempt-$JOBKIT_ATTEMPT"


def _teardown(plan: Plan, run_dir: str) -> list[str]:
    """Return the end: srun says 143 of a job in which a rank failed and the others were ended."""
    point = [_POINT] if plan.is_sweep else []
    start = shlex.join((plan.python, "-m", _EPILOGUE, run_dir))
    return [" ".join(("exec", start, '"$JOBKIT_ATTEMPT" "$?"', *point))]


def _command(plan: Plan, run_dir: str, workdir: str) -> str:
    """Return the lines that start the ranks, with the shim before their program."""
    attempt = _attempt(plan, pattern(run_dir))
    shim = shlex.join((plan.python, "-m", "jobkit.env", "--run-dir", run_dir))
    options = shlex.join(("--backend", ",".join(plan.backend), "--chdir", workdir, "--"))
    lines = [
        shlex.join(("srun", *_srun(plan))) + (' --mpi="$mpi"' if _chooses_mpi(plan) else ""),
        f"--output={attempt}/rank-%t.out --error={attempt}/rank-%t.err",
        f"{shim} --point {_POINT} {options}" if plan.is_sweep else f"{shim} {options}",
        '"$@"' if plan.is_sweep else shlex.join(plan.tasks[0].command),
    ]
    before = (*_chosen(plan), *_set_up(plan, run_dir, workdir), *_kind_of_mpi(plan, run_dir))
    return "\n".join((*before, " \\\n  ".join(lines)))


def _set_up(plan: Plan, run_dir: str, workdir: str) -> list[str]:
    """Return the step that runs `setup` on every node; without its success no rank is started."""
    if not plan.setup:
        return []
    options = {"nodes": str(plan.nodes), "ntasks": str(plan.nodes), "ntasks-per-node": "1"}
    step = shlex.join(("srun", *_flags(options | _STEP | plan.slurm.srun | {"mpi": "none"})))
    program = shlex.join((plan.python, "-m", _SETUP, run_dir))
    words = shlex.join((workdir, *plan.setup))
    return [f"{step} \\\n  {program} {_POINT if plan.is_sweep else repr('')} \\\n  {words} &&"]


def _chooses_mpi(plan: Plan) -> bool:
    return "mpi" in plan.backend and "mpi" not in plan.slurm.srun


def _kind_of_mpi(plan: Plan, run_dir: str) -> list[str]:
    """Return the line that chooses what srun offers to the ranks' library of MPI."""
    if not _chooses_mpi(plan):
        return []
    words = (shlex.join((plan.python, "-m", _MPI, run_dir)), *([_POINT] if plan.is_sweep else []))
    return [f"mpi=$({' '.join(words)}) &&"]


def _chosen(plan: Plan) -> list[str]:
    """Return the lines that make the command of the array's task the arguments of the script."""
    if not plan.is_sweep:
        return []
    cases = [f"{task.point}) set -- {shlex.join(task.command)} ;;" for task in plan.tasks]
    return [f"case {_POINT} in", *cases, "esac"]


def _srun(plan: Plan) -> list[str]:
    """Return srun's options, each said explicitly: what it takes from the job differs between versions."""
    options = {
        "nodes": str(plan.nodes),
        "ntasks": str(plan.ranks),
        "ntasks-per-node": str(plan.ranks_per_node),
    }
    if plan.cpus_per_rank:
        options["cpus-per-task"] = str(plan.cpus_per_rank)
    return _flags(options | _STEP | {"unbuffered": ""} | plan.slurm.srun)


def _flags(options: Mapping[str, str]) -> list[str]:
    return [f"--{name}={value}" if value else f"--{name}" for name, value in options.items()]
