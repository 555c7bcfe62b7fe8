"""The end of a batch script: its exit status is that of the rank that failed first, and no secret stays.

usage: python -m jobkit.slurm.epilogue RUN_DIR ATTEMPT STATUS_OF_SRUN [POINT]
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from jobkit.agent import verdict
from jobkit.env.record import RankExit, now
from jobkit.errors import Exit
from jobkit.jobs import files, folder, secret_file
from jobkit.slurm import memory, naming, setup

SCHEMA = 1
_FILE = "batch.exit.json"
_SIGKILL = 128 + 9
_KILLED = re.compile(r"^srun: error: (\S+): task (\d+): Killed$", re.MULTILINE)
_LOG_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class BatchExit:
    """How the batch script ended; also the text of its record.

    Attributes:
        srun: Status of srun, 143 also where a rank failed and its peers were ended.
        status: That of the rank that failed first, else srun's.
        ended: RFC 3339, UTC.
        rank, host: A rank that was killed with its shim, of which only Slurm tells; None without one.
        reason: Why no rank was started, None where they were.
        out_of_memory: Whether it was killed since the job had more memory than it may.
    """

    srun: int
    status: int
    ended: str
    rank: int | None = None
    host: str | None = None
    reason: str | None = None
    out_of_memory: bool = False


def rank_exits(attempt_dir: Path) -> dict[int, RankExit]:
    """Return the exit records that the ranks of an attempt have left by now."""
    found = {}
    for path in attempt_dir.glob("rank-*.exit.json"):
        try:
            raw = json.loads(path.read_bytes())
            raw.pop("schema")
            ended = RankExit(**raw)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        found[ended.rank] = ended
    return found


def batch_exit(attempt_dir: Path) -> BatchExit | None:
    """Return the record of a batch script that has come to its end, None of others."""
    try:
        raw = json.loads((attempt_dir / _FILE).read_bytes())
        raw.pop("schema")
        return BatchExit(**raw)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def killed(log: str) -> tuple[int, str] | None:
    """Return the first rank that srun says was killed, and its host; None where it says nothing of the kind.

    >>> killed("srun: error: gpu-a09: task 3: Killed")
    (3, 'gpu-a09')
    """
    found = _KILLED.search(log)
    return (int(found[2]), found[1]) if found else None


def _log(task_dir: Path) -> str:
    """Return the beginning of what this script has written, srun's complaints among it."""
    path = naming.log(task_dir)
    if path is None:
        return ""
    try:
        with path.open(errors="replace") as file:
            return file.read(_LOG_CHARACTERS)
    except OSError:
        return ""


def ending(task_dir: Path, attempt_dir: Path, srun: int) -> BatchExit:
    """Return how the script ends, given srun's status."""
    first = verdict.first_failure(rank_exits(attempt_dir).values())
    log = _log(task_dir) if srun else ""
    exceeded = memory.was_exceeded(log)
    if first is not None:
        return BatchExit(srun, first.status, now(), out_of_memory=exceeded and first.status == _SIGKILL)
    unset = setup.failed(attempt_dir) if srun else None
    if unset is not None:
        return BatchExit(srun, int(Exit.NOT_STARTED), now(), reason=unset)
    # Where all ranks of a step are killed together, it is not the first that had too much.
    gone = memory.hungriest(os.environ.get("SLURM_JOB_ID", ""), os.environ) if exceeded else killed(log)
    rank, host = gone or (None, None)
    status = _SIGKILL if gone or exceeded else srun
    return BatchExit(srun, status, now(), rank, host, out_of_memory=exceeded)


def _erase_secrets(run_dir: Path, point: str | None) -> None:
    """Leave no secret when this is the last script of the job to end.

    Each writes its record before it looks at those of the others.
    """
    if point is None or all(_has_ended(task_dir) for task_dir in folder.points(run_dir)):
        secret_file.erase(run_dir)


def _has_ended(task_dir: Path) -> bool:
    return (folder.attempt(task_dir, folder.latest_attempt(task_dir)) / _FILE).exists()


def main(argv: list[str]) -> int:
    """Write the script's record and return its exit status."""
    run_dir, number, srun = Path(argv[0]), int(argv[1]), int(argv[2])
    point = argv[3] if len(argv) > 3 else None
    task_dir = folder.task_folder(run_dir, point)
    attempt_dir = folder.attempt(task_dir, number)
    ended = ending(task_dir, attempt_dir, srun)
    # A full disk must not change how the job ends.
    with contextlib.suppress(OSError):
        files.replace(attempt_dir / _FILE, (json.dumps({"schema": SCHEMA, **asdict(ended)}) + "\n").encode())
    with contextlib.suppress(OSError, ValueError):
        _erase_secrets(run_dir, point)
    return ended.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
