"""What is to be tried, by what is known of an end."""

from __future__ import annotations

import doctest

import pytest

from jobkit.env import oom
from jobkit.jobs import hints
from jobkit.jobs.record import FAILED, JobExit, TaskRecord


def of(exit_: JobExit, *lines: str, state: str = FAILED, reason: str | None = None) -> str:
    task = TaskRecord(None, state=state, reason=reason, attempt=1, exit=exit_)
    return "\n".join(hints.hints(task, lines, (), "j"))


def exited(status: int) -> JobExit:
    return JobExit(status, 1, "h", None, f"exit {status}")


def killed(name: str, status: int) -> JobExit:
    return JobExit(status, 1, "h", name, f"killed by signal {status - 128} ({name})")


def test_examples() -> None:
    assert doctest.testmod(hints).failed == 0


def test_an_ordinary_failure_has_none() -> None:
    assert of(exited(1), "Traceback (most recent call last):", "ValueError: x") == ""
    assert of(JobExit(0, kind="exit 0")) == ""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("python: can't open file '/w/train.py': [Errno 2] No such file or directory", "/w/train.py is not"),
        ("ModuleNotFoundError: No module named 'mlx.core'", "no module mlx.core: install it there"),
        ("ImportError: libcudart.so.12: cannot open shared object file: No such file", "no libcudart.so.12:"),
        ("OSError: [Errno 98] Address already in use", "MASTER_PORT"),
        ("OSError: [Errno 28] No space left on device", "df -h"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "gpus_per_rank: 1"),
        ("MemoryError", "memory ran out"),
        ("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8. TiB", "memory ran out"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "memory ran out"),
        ("RuntimeError: [ring] Couldn't connect (error: 111)", "some rank reached init() later"),
    ],
)
def test_words_that_an_interpreter_or_a_library_leaves(line: str, expected: str) -> None:
    assert expected in of(exited(1), "before", line, "after")


def test_what_the_reason_says_is_not_said_again() -> None:
    line = "RuntimeError: [ring] Couldn't connect (error: 111)"
    told = of(exited(1), line)
    assert of(exited(1), line, reason=f"rank 1 on h: exit 1; {told}") == ""


@pytest.mark.parametrize(
    ("exit_", "expected"),
    [
        (JobExit(127, 0, "h", None, "not found"), "looked for on PATH"),
        (JobExit(126, 0, "h", None, "not executable"), "chmod +x"),
        (exited(127), "no such command"),
        (exited(126), "may not execute"),
        (exited(124), "the job's own time limit was not reached"),
        (killed("SIGKILL", 137), "on h names the process"),
        (exited(137), "jobkit did not send SIGKILL"),
        (killed("SIGSEGV", 139), "PYTHONFAULTHANDLER"),
        (exited(139), "PYTHONFAULTHANDLER"),
        (killed("SIGILL", 132), "built for another one"),
        (killed("SIGBUS", 135), "/dev/shm"),
        (killed("SIGTERM", 143), "jobkit did not send SIGTERM"),
        (JobExit(137, kind="out of memory"), "memory: more than now"),
    ],
)
def test_kinds_of_exit(exit_: JobExit, expected: str) -> None:
    assert expected in of(exit_)


def test_a_status_that_stands_for_no_signal_has_none() -> None:
    assert of(exited(255)) == of(exited(200)) == of(killed("SIGUSR1", 138)) == ""


@pytest.mark.parametrize(
    ("state", "expected"),
    [("timeout", "jobkit rerun j --set time="), ("lost", "jobkit rerun j"), ("preempted", "retries:")],
)
def test_states(state: str, expected: str) -> None:
    assert expected in of(JobExit(124, kind="time limit"), state=state)


def test_calls_that_differ() -> None:
    task = TaskRecord(None, state=FAILED, attempt=1, exit=exited(1))
    [said] = hints.hints(task, (), ("calls differ at #3: rank 0 called …",), "j")
    assert "JOBKIT_CHECK" in said


def test_what_the_kernel_s_counter_has_told_is_not_guessed_again() -> None:
    exit_ = killed("SIGKILL", 137)
    assert of(exit_, reason=f"rank 1 on h: {exit_.kind}; {oom.HINT}") == ""
