"""What to try after a failure: said only where its cause leaves little doubt."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence

from jobkit.env import oom
from jobkit.env.mlx import failures
from jobkit.errors import Exit
from jobkit.jobs.record import LOST, PREEMPTED, TIMEOUT, JobExit, TaskRecord

# What an interpreter, a loader or a library writes last, and what it means. `\1` is the name it gives.
_BY_WORDS = (
    (
        r"can't open file '?(.+?)'?: \[Errno 2\]",
        r"\1 is not there: a path in run: starts at workdir, which is the folder of submission unless the "
        "spec names one",
    ),
    (
        r"ModuleNotFoundError: No module named '([^']+)'",
        r"the Python that ran has no module \1: install it there, or name the Python that has it in run:",
    ),
    (
        r"(\S+\.so[.\d]*): cannot open shared object file",
        r"the loader finds no \1: setup: [module load …] or env: {LD_LIBRARY_PATH: …} adds its folder",
    ),
    (
        r"(?i)address already in use",
        "the program chose a port that is taken: let it take port 0, or MASTER_PORT, which jobkit reserves "
        "for jobs of several ranks with a backend",
    ),
    (r"No space left on device", "a file system is full: df -h, and df -h /dev/shm, on the rank's host"),
    (
        r"CUDA out of memory|cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY",
        "the GPU's memory ran out: gpus_per_rank: 1 gives every rank one of its own, else smaller batches",
    ),
    (
        r"^(?:numpy\S*)?MemoryError|std::bad_alloc|Cannot allocate memory",
        "memory ran out: fewer ranks on a host share it; through Slurm, memory: asks for more of it",
    ),
)

_FAULTS = ("SIGSEGV", "SIGABRT", "SIGFPE", "SIGBUS", "SIGILL")
_BY_SIGNAL = {
    "SIGILL": "an instruction that this processor does not have: something was built for another one",
    "SIGBUS": "a file that is mapped into memory was cut, or /dev/shm is full: df -h /dev/shm",
}


def hints(task: TaskRecord, lines: Sequence[str], calls: Sequence[str], job_id: str) -> tuple[str, ...]:
    """Return what to try, the likeliest first; none where nothing is known.

    Args:
        task: What failed.
        lines: Its last lines.
        calls: What its flight recorders say.
        job_id: Of the job.
    """
    if task.exit is None:
        return ()
    found = [*_of_words(lines, task.reason or ""), *_of_calls(calls), *_of_exit(task, task.exit, job_id)]
    return tuple(dict.fromkeys(found))


def _of_words(lines: Sequence[str], told: str) -> Iterator[str]:
    text = "\n".join(lines)
    for pattern, hint in _BY_WORDS:
        match = re.search(pattern, text, re.MULTILINE)
        if match:
            yield match.expand(hint)
    known = failures.hint(text.encode(errors="replace"))
    if known and known not in told:
        yield known


def _of_calls(calls: Sequence[str]) -> Iterator[str]:
    if any(sentence.startswith("calls differ") for sentence in calls):
        yield "every rank makes the same calls in the same order; env: {JOBKIT_CHECK: 1} compares them first"


def _of_exit(task: TaskRecord, exit_: JobExit, job_id: str) -> Iterator[str]:
    """Yield what the state of the task, the kind of its exit, or its status means."""
    if task.state == TIMEOUT:
        yield (
            f"jobkit rerun {job_id} --set time=… gives it longer; signal: {{name: USR1, before: 90s}} tells "
            "the program ahead of the limit"
        )
    elif task.state == LOST:
        yield f"jobkit rerun {job_id} starts it again"
    elif task.state == PREEMPTED:
        yield "retries: {preempted: 5} queues it again"
    elif "out of memory" in f"{exit_.kind} {task.reason}":
        yield "memory: more than now (it is per node), or fewer ranks_per_node"
    elif exit_.kind == "not found":
        yield "a name is looked for on PATH, which setup: can extend; a path starts at workdir"
    elif exit_.kind == "not executable":
        yield "chmod +x the file, or put its interpreter first: run: bash FILE"
    elif exit_.kind == f"exit {Exit.NOT_FOUND}":
        yield "127 is how a shell says that it found no such command: its last line names it"
    elif exit_.kind == f"exit {Exit.NOT_EXECUTABLE}":
        yield "126 is how a shell says that it may not execute a file: its last line names it"
    elif exit_.kind == f"exit {Exit.TIME_LIMIT}":
        yield "124 is how the command `timeout` ends; the job's own time limit was not reached"
    else:
        yield from _of_signal(exit_, task.reason or "")


def _of_signal(exit_: JobExit, told: str) -> Iterator[str]:
    name = exit_.signal or _as_a_shell_says_it(exit_)
    where = f" on {exit_.host}" if exit_.host else ""
    if name == "SIGKILL" and oom.HINT not in told:
        yield (
            "jobkit did not send SIGKILL: mostly it is the kernel's, as memory ran out (`dmesg` or "
            f"`journalctl -k`{where} names the process then), else a person's or the site's"
        )
    elif name in _FAULTS:
        if name in _BY_SIGNAL:
            yield _BY_SIGNAL[name]
        yield "env: {PYTHONFAULTHANDLER: 1} lets Python print where it was"
    elif name == "SIGTERM":
        yield "jobkit did not send SIGTERM: it came from the program, a person or the site"


def _as_a_shell_says_it(exit_: JobExit) -> str | None:
    """Return the signal that ended the last command of a shell: 137 is 128 and SIGKILL.

    >>> _as_a_shell_says_it(JobExit(137, 0, "h", None, "exit 137"))
    'SIGKILL'
    """
    number = exit_.status - Exit.SIGNAL
    named = {"SIGKILL", "SIGTERM", *_FAULTS}
    is_plain = exit_.kind == f"exit {exit_.status}"
    name = signal.Signals(number).name if is_plain and number in set(signal.Signals) else None
    return name if name in named else None
