"""What failed said last: the rank that failed first, or where none ran, the script that was to start it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jobkit.jobs import folder, follow
from jobkit.jobs.record import SUCCEEDED, TaskRecord
from jobkit.slurm import naming


@dataclass(frozen=True)
class LastWords:
    """The last lines of a file.

    Attributes:
        of: What file that is: 'standard error of rank 3', 'slurm-12.log'.
        lines: Its last lines.
    """

    of: str
    lines: tuple[str, ...]


def last_words(run_dir: Path, task: TaskRecord) -> LastWords | None:
    """Return what is known of a failure beside its status; None of a success, or where nothing was said."""
    if task.exit is None or task.state == SUCCEEDED:
        return None
    task_dir = folder.task_folder(run_dir, task.point)
    if task.exit.rank is not None:
        of = f"standard error of rank {task.exit.rank}"
        lines = follow.last_lines(folder.output(task_dir, task.attempt, task.exit.rank, follow.ERR))
    else:
        log = naming.log(task_dir)
        if log is None:
            return None
        of, lines = log.name, follow.last_lines(log)
    return LastWords(of, tuple(lines)) if lines else None
