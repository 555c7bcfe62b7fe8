"""Every error that jobkit reports to its user, with the exit status each one means.

    JobkitError
    ├── SpecError      2    a spec, flag or job name that cannot be used
    ├── SubmitError    125  the job was not submitted, or the scheduler refused it
    ├── LaunchError    125  a rank could not be started where it was placed
    ├── PlacementError 2    a launcher's variables are malformed, or contradict each other
    └── BackendError   125  a group could not be formed, or one of its operations failed

Bugs stay ordinary exceptions with a traceback.
"""

from __future__ import annotations


class Exit:
    """Exit status of `submit`, `validate`, `wait`, `launch` and `exec` where no rank's own applies.

    Plain integers: `enum` would cost every rank's start 5 ms.
    """

    OK = 0
    FINDING = 1  # `doctor`, `hosts check`: something would fail
    USAGE = 2
    TIME_LIMIT = 124
    NOT_STARTED = 125
    NOT_EXECUTABLE = 126
    NOT_FOUND = 127
    SIGNAL = 128  # plus the signal's number
    INTERRUPTED = 130
    CANCELLED = 143


class JobkitError(Exception):
    """An error with a cause that its user can act on.

    Attributes:
        exit_status: What the command line exits with.
    """

    exit_status: int = Exit.NOT_STARTED


class SpecError(JobkitError):
    """A spec, flag or job name that cannot be used."""

    exit_status = Exit.USAGE


class SubmitError(JobkitError):
    """The job was not submitted, or the scheduler refused it."""


class LaunchError(JobkitError):
    """A rank could not be started where it was placed."""


class PlacementError(JobkitError):
    """A launcher's variables are malformed, or contradict each other."""

    exit_status = Exit.USAGE


class BackendError(JobkitError, RuntimeError):
    """A group could not be formed, or one of its operations failed.

    Also a RuntimeError, since that is what `mx.distributed` raises.
    """


def complaint(where: str, wrong: str, *, got: object = None, expected: str = "", hint: str = "") -> str:
    """Return the text of an error in the form that every one of them has.

    >>> print(complaint("a.yaml:4: nodes", "not a count", got="two", expected="an integer >= 1"))
    a.yaml:4: nodes: not a count, got 'two', expected an integer >= 1
    """
    text = f"{where}: {wrong}"
    if got is not None:
        text += f", got {got!r}"
    if expected:
        text += f", expected {expected}"
    if hint:
        text += f"\n\nhint: {hint}"
    return text
