"""The end of a batch script: its exit status is that of the rank that failed first, and no secret stays.

usage: python -m jobkit.slurm.epilogue RUN_DIR ATTEMPT STATUS_OF_SRUN
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
from jobkit.jobs import files, secret_file

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
        rank, host: A rank that was killed with its shim, of which srun alone tells; None without one.
    """

    srun: int
    status: int
    ended: str
    rank: int | None = None
    host: str | None = None


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


def _log(run_dir: Path) -> str:
    """Return the beginning of what this script has written, srun's complaints among it."""
    path = run_dir / f"slurm-{os.environ.get('SLURM_JOB_ID', '')}.log"
    try:
        with path.open(errors="replace") as file:
            return file.read(_LOG_CHARACTERS)
    except OSError:
        return ""


def ending(run_dir: Path, attempt_dir: Path, srun: int) -> BatchExit:
    """Return how the script ends, given srun's status."""
    first = verdict.first_failure(rank_exits(attempt_dir).values())
    if first is not None:
        return BatchExit(srun, first.status, now())
    gone = killed(_log(run_dir)) if srun else None
    return BatchExit(srun, srun, now()) if gone is None else BatchExit(srun, _SIGKILL, now(), *gone)


def main(argv: list[str]) -> int:
    """Write the script's record and return its exit status."""
    run_dir, attempt, srun = Path(argv[0]), argv[1], int(argv[2])
    attempt_dir = run_dir / f"attempt-{attempt}"
    ended = ending(run_dir, attempt_dir, srun)
    # A full disk must not change how the job ends.
    with contextlib.suppress(OSError):
        files.replace(attempt_dir / _FILE, (json.dumps({"schema": SCHEMA, **asdict(ended)}) + "\n").encode())
    with contextlib.suppress(OSError, ValueError):
        secret_file.erase(run_dir)
    return ended.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
