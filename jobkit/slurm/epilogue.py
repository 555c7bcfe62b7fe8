"""The end of a batch script: its exit status is that of the rank that failed first, and no secret stays.

usage: python -m jobkit.slurm.epilogue RUN_DIR ATTEMPT STATUS_OF_SRUN
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from jobkit.agent import verdict
from jobkit.env.record import RankExit, now
from jobkit.jobs import files, secret_file

SCHEMA = 1
_FILE = "batch.exit.json"


@dataclass(frozen=True)
class BatchExit:
    """How the batch script ended; also the text of its record.

    Attributes:
        srun: Status of srun, 143 also where a rank failed and its peers were ended.
        status: That of the rank that failed first, else srun's.
        ended: RFC 3339, UTC.
    """

    srun: int
    status: int
    ended: str


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


def main(argv: list[str]) -> int:
    """Write the script's record and return its exit status."""
    run_dir, attempt, srun = Path(argv[0]), argv[1], int(argv[2])
    attempt_dir = run_dir / f"attempt-{attempt}"
    first = verdict.first_failure(rank_exits(attempt_dir).values())
    ended = BatchExit(srun, srun if first is None else first.status, now())
    # A full disk must not change how the job ends.
    with contextlib.suppress(OSError):
        files.replace(attempt_dir / _FILE, (json.dumps({"schema": SCHEMA, **asdict(ended)}) + "\n").encode())
    with contextlib.suppress(OSError, ValueError):
        secret_file.erase(run_dir)
    return ended.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
