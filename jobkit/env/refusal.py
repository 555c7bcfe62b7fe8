"""The record of a rank whose program was never started, so that it is not taken for one that was ended."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping

from jobkit.env.detect import detect
from jobkit.env.facts import facts
from jobkit.env.shim import identify
from jobkit.errors import JobkitError


def record(environ: Mapping[str, str], error: JobkitError) -> None:
    """Leave the record of this rank's refusal in the run folder of its job; who is no rank leaves none.

    The rank's own ending stays what it is where the record cannot be written.
    """
    try:
        found = detect(environ, facts(environ))
    except JobkitError:
        return
    if found.placement is None or found.launcher in (None, "jobkit", "env"):
        return
    from pathlib import Path

    from jobkit.env.record import RankExit, now, write_exit

    identity, at = identify(environ, found), now()
    ended = RankExit(
        rank=found.placement.rank,
        host=os.uname().nodename,
        status=error.exit_status,
        signal=None,
        ended_by_jobkit=False,
        victim_of=None,
        reason="not started",
        started=at,
        ended=at,
        order=int(time.time() * 1000),
    )
    folder = Path(identity.run_dir, f"attempt-{identity.attempt}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The watcher of a program that could not be executed has written it already.
        if not (folder / f"rank-{ended.rank}.exit.json").exists():
            write_exit(folder, ended)
    except OSError as failed:
        sys.stderr.write(f"jobkit: {folder}: the record was not written ({failed.strerror})\n")
