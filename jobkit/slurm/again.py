"""What ended an attempt, and whether `retries` allows another one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict

from jobkit.plan import Retries

# The keys of `retries`.
PREEMPTED, NODE_FAILURE, FAILED = "preempted", "node_failure", "failed"
REQUEUED = "requeued"  # by a user's or an administrator's `scontrol requeue`, which no retries count
CANCELLED, TIME_LIMIT = "cancelled", "time_limit"  # no attempt comes after these
# After these Slurm starts the job again by itself, if it was submitted with --requeue.
BY_SLURM = (PREEMPTED, NODE_FAILURE, REQUEUED)

# slurmstepd-a: error: *** JOB 7 ON a CANCELLED AT 2026-11-23T00:20:57 DUE TO NODE FAILURE, SEE SLURMCTLD LOG…
_CANCELLED = re.compile(
    r"^slurmstepd[^:\n]*: error: \*\*\* JOB \S+ ON \S+ CANCELLED AT \S+(?: DUE TO ([A-Z]+(?: [A-Z]+)*))?",
    re.MULTILINE,
)
_CAUSES = {
    "PREEMPTION": PREEMPTED,
    "NODE FAILURE": NODE_FAILURE,
    "JOB REQUEUE": REQUEUED,
    "TIME LIMIT": TIME_LIMIT,
}
_MARK = "jobkit: attempt {}"


def mark(number: str) -> str:
    """Return the line that begins an attempt in the log of the script, which all attempts share."""
    return _MARK.format(number)


def section(log: str, number: int) -> str:
    r"""Return what an attempt has added to a log; all of it where the attempts are not marked.

    >>> section("jobkit: attempt 1\na\njobkit: attempt 2\nb\n", 1)
    'a\n'
    """
    rest = f"\n{log}".rpartition(f"\n{mark(str(number))}\n")[2]
    return rest.removeprefix("\n").partition(mark(str(number + 1)))[0]


def told(said: str) -> str | None:
    """Return what Slurm says has ended an attempt, None where it ended by itself.

    >>> told("slurmstepd-a: error: *** JOB 7 ON a CANCELLED AT 2026-11-23T00:20:57 DUE TO PREEMPTION ***")
    'preempted'
    """
    found = _CANCELLED.search(said)
    return None if found is None else _CAUSES.get(found[1] or "", CANCELLED)


def allowed(kind: str | None, earlier: Sequence[str | None], retries: Retries) -> bool:
    """Tell whether another attempt follows one that ended like this, given how those before it ended."""
    if not any(asdict(retries).values()):
        return False
    return kind == REQUEUED or list(earlier).count(kind) < asdict(retries).get(kind or "", 0)
