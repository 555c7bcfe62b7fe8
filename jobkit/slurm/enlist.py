"""Enter the run folder of a batch script that was not jobkit's own among the user's jobs.

usage: python -m jobkit.slurm.enlist RUN_DIR

The templates in slurm/ keep theirs in the folder of submission, and `jobkit list` looks in its home.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from jobkit.jobs import foreign, home


def enlist(run_dir: Path, environ: Mapping[str, str]) -> None:
    """Link to a run folder from the folder of jobs; one of the same name is an older job's.

    Raises:
        OSError: The home cannot be written.
    """
    home.make(environ)
    link = home.jobs(environ) / foreign.name(run_dir)
    if link.is_symlink():
        link.unlink()
    link.symlink_to(run_dir.resolve())


def main(argv: list[str]) -> int:
    """Enter one; the job goes on where that cannot be done."""
    try:
        enlist(Path(argv[0]), os.environ)
    except OSError as error:
        print(f"jobkit: `jobkit list` will not show this job ({error})", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
