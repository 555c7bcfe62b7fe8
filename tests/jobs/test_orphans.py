from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from jobkit.jobs import orphans


def start(run_dir: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"], env={**os.environ, "JOBKIT_RUN_DIR": str(run_dir)})


def test_processes_of_a_job_and_its_points_are_found_and_ended(
    until: Callable[..., None], tmp_path: Path
) -> None:
    mine = [start(tmp_path / "a"), start(tmp_path / "a" / "3")]
    others = [start(tmp_path / "ab"), start(tmp_path / "other-home" / "a")]
    try:
        pids = sorted(one.pid for one in mine)
        until(lambda: sorted(orphans.find(tmp_path / "a")) == pids)
        assert orphans.end(tmp_path / "a")
        assert orphans.find(tmp_path / "a") == []
        assert [one.poll() for one in others] == [None, None]
    finally:
        for one in (*mine, *others):
            one.kill()
            one.wait()


def test_a_job_without_processes_is_ended_already(tmp_path: Path) -> None:
    assert orphans.end(tmp_path)


def test_a_run_folder_whose_name_is_not_utf_8_is_searched_too(
    until: Callable[..., None], tmp_path: Path
) -> None:
    folder = tmp_path / os.fsdecode(b"a\xff")
    mine = start(folder)
    try:
        until(lambda: orphans.find(folder) == [mine.pid])
    finally:
        mine.kill()
        mine.wait()
