"""What a job is called in Slurm's tables, and what its script's log is called in its run folder."""

from __future__ import annotations

from pathlib import Path

# Begins the comment that a job is submitted with, so that it is found again when its number was lost.
COMMENT = "jobkit:"
# In Slurm's patterns: of a job, and of a point, whose folder has its index in the array as its name.
LOG = "slurm-%j.log"
LOG_OF_POINT = "%a/slurm-%A_%a.log"
_BEFORE, _AFTER = "slurm-", ".log"


def log(task_dir: Path) -> Path | None:
    """Return the file that the script of a job or point writes to, None before it has begun."""
    return min(task_dir.glob(f"{_BEFORE}*{_AFTER}"), default=None)


def number_in(log: Path) -> str:
    """Return the number of the job that a log belongs to.

    >>> number_in(Path("slurm-12.log")), number_in(Path("slurm-12_3.log"))
    ('12', '12')
    """
    return log.name.removeprefix(_BEFORE).removesuffix(_AFTER).partition("_")[0]
