"""The beginning of a later attempt: prints the exit status of a job that is over all the same, else nothing.

usage: python -m jobkit.slurm.prologue RUN_DIR ATTEMPT [POINT]

Slurm starts a job again whose node failed or that was preempted, and does not know what `retries` allows.
Mostly the epilogue of the attempt before has said it; its node may have failed with it, or it was killed.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from jobkit.env.record import now
from jobkit.jobs import folder
from jobkit.slurm import again
from jobkit.slurm.epilogue import (
    STATUSES,
    BatchExit,
    batch_exit,
    earlier,
    erase_secrets,
    log,
    retries,
    write,
)


def interrupted(run_dir: Path, task_dir: Path, number: int) -> BatchExit:
    """Return how an attempt ended whose script did not come to its end."""
    # What dies with its node says nothing.
    kind = again.told(again.section(log(task_dir), number)) or again.NODE_FAILURE
    kind = again.REQUEUED if kind in (again.CANCELLED, again.TIME_LIMIT) else kind
    follows = again.allowed(kind, earlier(task_dir, number), retries(run_dir))
    status = STATUSES.get(kind, STATUSES[again.PREEMPTED])
    return BatchExit(status, status, now(), kind=kind, again=follows)


def main(argv: list[str]) -> int:
    """Say whether the job is over."""
    run_dir, number, point = Path(argv[0]), int(argv[1]) - 1, argv[2] if len(argv) > 2 else None
    task_dir = folder.task_folder(run_dir, point)
    attempt_dir = folder.attempt(task_dir, number)
    ended = batch_exit(attempt_dir)
    if ended is None:
        ended = interrupted(run_dir, task_dir, number)
        with contextlib.suppress(OSError):
            attempt_dir.mkdir(mode=0o700, exist_ok=True)
            write(attempt_dir, ended)
    if not ended.again:
        with contextlib.suppress(OSError, ValueError):
            erase_secrets(run_dir, point)
        print(ended.status)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
