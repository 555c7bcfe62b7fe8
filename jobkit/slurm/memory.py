"""Tell from the node that a job had more memory than it may, and which of its ranks had most."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from jobkit.errors import SubmitError
from jobkit.slurm import client

# slurmstepd's own words, of the kernel's killer (task/cgroup) and of its own (jobacct_gather).
_EXCEEDED = re.compile(
    r"^slurmstepd(-\S+)?: error: .*(oom[-_ ]kill|Exceeded (job|step) memory limit|Out Of Memory)",
    re.MULTILINE | re.IGNORECASE,
)
_WORDS = (
    "sacct", "--noheader", "--parsable2", "--noconvert", "--format=JobID,MaxRSS,MaxRSSTask,MaxRSSNode",
)  # fmt: skip
# What a step used is known to the database a moment after the step's end (seconds).
_PATIENCE_S = 3.0
_POLL_S = 0.2


def was_exceeded(log: str) -> bool:
    """Return whether slurmstepd says so in a script's log.

    >>> was_exceeded("slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some of the step tasks ...")
    True
    >>> was_exceeded("slurmstepd-gpu-a08: error: Exceeded job memory limit")
    True
    >>> was_exceeded("rank 3: Out Of Memory")
    False
    """
    return _EXCEEDED.search(log) is not None


def hungriest(number: str, environ: Mapping[str, str]) -> tuple[int, str] | None:
    """Return the rank of a job that used most memory, and its host; None where the site keeps no accounts."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            answer = client.call((*_WORDS, f"--jobs={number}"), client.own_environ(environ))
        except SubmitError:
            return None
        found = most(answer.out)
        if found is not None or answer.status or time.monotonic() > until:
            return found
        time.sleep(_POLL_S)


def most(rows: str) -> tuple[int, str] | None:
    """Return the rank and host in the row of the step that used most.

    >>> most("7||||\\n7.batch|9000000|0|a\\n7.0|1000|1|a\\n7.1|313200|3|b")
    (3, 'b')
    """
    steps = (line.split("|") for line in rows.splitlines())
    used = [
        (int(row[1].rstrip("K")), int(row[2]), row[3])
        for row in steps
        if row[0].rpartition(".")[2].isdecimal() and "." in row[0]
        if len(row) == 4 and row[1].rstrip("K").isdecimal() and row[2].isdecimal()
    ]
    return max(used)[1:] if used else None
