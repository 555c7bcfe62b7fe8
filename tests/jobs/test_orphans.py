from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

from jobkit.jobs import orphans


def start(job: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"], env={**os.environ, "JOBKIT_JOB": job})


def test_processes_of_a_job_and_its_points_are_found_and_ended(until: Callable[..., None]) -> None:
    mine = [start("orphans-a"), start("orphans-a/3")]
    other = start("orphans-ab")
    try:
        pids = sorted(one.pid for one in mine)
        until(lambda: sorted(orphans.find("orphans-a")) == pids)
        assert orphans.end("orphans-a")
        assert orphans.find("orphans-a") == []
        assert other.poll() is None
    finally:
        for one in (*mine, other):
            one.kill()
            one.wait()


def test_a_job_without_processes_is_ended_already() -> None:
    assert orphans.end("orphans-none")
