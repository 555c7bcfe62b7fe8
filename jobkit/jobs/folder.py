"""The run folder of a job: what lies where in it, how it appears, and who holds it.

RUN_DIR/                      0700, appears whole
  spec.yaml plan.json         what was submitted
  submission/                 what was sent
  record.json                 what is known (jobs/record.py)
  secrets                     0600; the values are erased when the job has ended
  keeper.lock                 locked by the submitter and then the keeper, as long as either lives
  keeper.log                  what the keeper could say nowhere else
  cancel                      a request to cancel the job
  ballast                     space for the last record
  snapshot/                   the copy of the workdir, with `snapshot: true`
  remote.json                 with `slurm.login`: where the job was sent; the rest came back from there
  job.sbatch environ.json     through Slurm: the script, and the variables that its ranks take from here
  slurm-N.log                 through Slurm: what the script itself has written, such as srun's complaints
                              (in the folder of its point)
  attempt-K/rank-R.{out,err,exit.json}
  attempt-K/batch.exit.json   through Slurm: how the script ended
  attempt-K/setup-NODE.{json,log}  through Slurm: what `setup` changed on a node, and what it has written
  attempt-K/rank-R.gang/alive  locked while a rank that another launcher started lives (env/presence.py)
  POINT/…                     the same and `cancel` for each point of a sweep
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from jobkit.errors import SpecError, complaint
from jobkit.jobs import files

SPEC = "spec.yaml"
PLAN = "plan.json"
SECRETS = "secrets"
LOCK = "keeper.lock"
LOG = "keeper.log"
CANCEL = "cancel"
SNAPSHOT = "snapshot"
SUBMISSION = "submission"
REMOTE = "remote.json"
# Errors of a file system that has no such locks.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


def task_folder(run_dir: Path, point: str | None) -> Path:
    """Return the folder of a task: the job's own, or its point's inside."""
    return run_dir if point is None else run_dir / point


def points(run_dir: Path) -> list[Path]:
    """Return the folders of the points of a sweep."""
    return [path for path in run_dir.iterdir() if path.name.isdecimal()]


def attempt(folder: Path, number: int) -> Path:
    """Return the folder of an attempt in a task's."""
    return folder / f"attempt-{number}"


def latest_attempt(folder: Path) -> int:
    """Return the latest attempt of a task that has begun, 0 before the first."""
    with os.scandir(folder) as entries:
        numbers = [one.name.removeprefix("attempt-") for one in entries if one.name.startswith("attempt-")]
    return max((int(text) for text in numbers if text.isdecimal()), default=0)


def output(folder: Path, number: int, rank: int, stream: str) -> Path:
    """Return a rank's file of an attempt in a task's folder; `stream` is out, err or exit.json."""
    return attempt(folder, number) / f"rank-{rank}.{stream}"


def stage(run_dir: Path) -> Path:
    """Make a hidden folder beside the run folder, which becomes it with `publish`."""
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f".{run_dir.name}.", suffix=".new", dir=run_dir.parent))


def publish(staged: Path, run_dir: Path, link: Path) -> None:
    """Give a staged folder its name, and its link among the jobs where it lies elsewhere.

    Raises:
        SpecError: A job of this id exists.
    """
    # The link first: a submission that is killed here leaves something that can be seen and removed.
    if link != run_dir:
        _claim(link, run_dir)
    try:
        staged.rename(run_dir)
    except OSError as error:
        if link != run_dir:
            link.unlink()
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
        raise refusal(run_dir.name) from error
    files.sync_folder(run_dir.parent)


def _claim(link: Path, run_dir: Path) -> None:
    try:
        link.symlink_to(run_dir)
    except FileExistsError as error:
        raise refusal(run_dir.name) from error


def refusal(job_id: str) -> SpecError:
    """Return the error for an id that is taken."""
    return SpecError(complaint("--id", "a job of this id exists", got=job_id, expected="a new id"))


def remove(run_dir: Path) -> None:
    """Remove a run folder, which disappears whole before its content goes."""
    gone = Path(tempfile.mkdtemp(prefix=f".{run_dir.name}.", suffix=".gone", dir=run_dir.parent))
    run_dir.rename(gone)
    shutil.rmtree(gone)


def leftovers(parent: Path) -> list[Path]:
    """Return the hidden folders of submissions and removals that were killed half way."""
    hidden = [*parent.glob(".*.new"), *parent.glob(".*.gone")]
    return [folder for folder in hidden if is_held(folder) is not True]


def hold(folder: Path) -> int:
    """Lock a new run folder; return the descriptor whose copies hold the lock.

    The lock passes from the submitter to the keeper with the descriptor, so there is no moment between
    them at which the job looks abandoned.
    """
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(fd)
            raise
    return fd


def is_held(folder: Path) -> bool | None:
    """Tell whether a submitter or keeper of this job lives; None where locks cannot tell."""
    try:
        return is_locked(folder / LOCK)
    except FileNotFoundError:
        return False


def is_locked(path: Path) -> bool | None:
    """Tell whether a process holds a lock on a file; None where locks cannot tell.

    Raises:
        FileNotFoundError: There is no such file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Shared, so that two who look at once do not take each other for the holder.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    finally:
        os.close(fd)
    return False
