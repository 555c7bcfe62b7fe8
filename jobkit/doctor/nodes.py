"""Checks of a node: one short step of srun sees there what the job's ranks would see."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jobkit
from jobkit.doctor.row import FAILS, OK, SKIPPED, WARNING, Question, Row
from jobkit.errors import SubmitError
from jobkit.jobs import home
from jobkit.plan import Plan
from jobkit.slurm import client

# How long a node may take to be free, and then the step to end, in seconds.
WAIT_S, RUN_S = 60, 60
_LOOK = """
echo "host $(hostname)"
test -e "$1" && echo "marker yes"
test -d "$2" && test -x "$2" && echo "workdir yes"
test -x "$3" && echo "interpreter yes"
"$3" -c 'import platform; print("python", platform.python_version())' &&
  "$3" -c 'import jobkit; print("jobkit", jobkit.__version__)'
"""


def checks(question: Question) -> Iterator[Row]:
    """Yield what a node sees of the job's folders and interpreter; nothing for specs that are not Slurm's."""
    plan = question.slurm
    if plan is None:
        return
    if not question.may_run:
        yield Row("node", SKIPPED, "--no-run: no step was started to look at one")
        return
    folder = Path(plan.run_dir) if plan.run_dir else home.jobs(question.environ)
    environ = client.own_environ(question.environ)
    try:
        if client.call(("scontrol", "show", "config"), environ).status:
            yield Row("node", SKIPPED, "slurmctld does not answer")
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as marker:
            answer = client.call(command(plan, marker.name), environ, timeout_s=WAIT_S + RUN_S)
    except OSError as error:
        yield Row("run folder", FAILS, f"{folder}: cannot be written ({error.strerror})", "set run_dir")
        return
    except SubmitError as error:
        yield Row("node", WARNING, f"none was seen: {error}", "try again, or --no-run")
        return
    yield from rows(plan, folder, answer)


def command(plan: Plan, marker: str) -> tuple[str, ...]:
    """Return srun's command, with what of the spec chooses the nodes."""
    given = {name: getattr(plan.slurm, name) for name in ("partition", "account", "qos", "constraint")}
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    step = ("--nodes=1", "--ntasks=1", "--time=1", "--job-name=jobkit-doctor", "--quiet", "--input=none")
    look = ("sh", "-c", _LOOK, "sh", marker, plan.workdir, plan.python)
    return ("srun", f"--immediate={WAIT_S}", *step, *options, *look)


def rows(plan: Plan, folder: Path, answer: client.Answer) -> Iterator[Row]:
    """Yield what a node has said."""
    said = dict(line.split(" ", 1) for line in answer.out.splitlines() if " " in line)
    if "host" not in said:
        yield Row("node", WARNING, f"none was seen: {answer.words}", "try again, or --no-run")
        return
    host = said["host"]
    yield Row("node", OK, f"{host} ran a step")
    if "marker" in said:
        yield Row("run folder", OK, f"{folder} is shared")
    else:
        remedy = "set run_dir or JOBKIT_HOME to a folder on a file system that the nodes share"
        yield Row("run folder", FAILS, f"{folder} here is not the one on {host}", remedy)
    if plan.snapshot or "workdir" in said:
        yield Row("workdir", OK, "a snapshot in the run folder" if plan.snapshot else plan.workdir)
    else:
        yield Row("workdir", FAILS, f"{plan.workdir} is not on {host}", "workdir: a shared folder")
    yield _interpreter(plan, said, host, answer)


def _interpreter(plan: Plan, said: dict[str, str], host: str, answer: client.Answer) -> Row:
    remedy = "python: an interpreter with this jobkit, on a file system that the nodes share"
    if "python" not in said:
        wrong = answer.words if "interpreter" in said else "it is not there"
        return Row("python", FAILS, f"{plan.python} on {host}: {wrong}", remedy)
    if "jobkit" not in said:
        return Row("python", FAILS, f"{plan.python} on {host}: has no jobkit ({_last(answer.err)})", remedy)
    there = f"{plan.python} on {host}: Python {said['python']}, jobkit {said['jobkit']}"
    if said["jobkit"] != jobkit.__version__:
        return Row("python", FAILS, f"{there}; here {jobkit.__version__}", remedy)
    if said["python"] != platform.python_version():
        return Row("python", WARNING, f"{there}; here Python {platform.python_version()}", remedy)
    return Row("python", OK, there)


def _last(text: str) -> str:
    lines = [
        line for line in text.splitlines() if line.strip() and not line.startswith(("srun:", "slurmstepd"))
    ]
    return lines[-1].strip() if lines else os.strerror(0)
