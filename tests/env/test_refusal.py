from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

STEP = {
    "SLURM_JOB_ID": "44", "SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_LOCALID": "1",
    "SLURM_NODEID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_NODELIST": "h",
    "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_GTIDS": "0,1",
}  # fmt: skip


def shim(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobkit.env", *words]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("--backend", "none", "no-such-program"), 127),
        (("--backend", "none", "/etc/passwd"), 126),
        (("--backend", "none", "--chdir", "/nowhere", "true"), 125),
    ],
)
def test_a_rank_whose_program_was_not_started_leaves_a_record(
    words: tuple[str, ...], status: int, tmp_path: Path
) -> None:
    done = shim(*words, JOBKIT_RUN_DIR=str(tmp_path), JOBKIT_ATTEMPT="3", **STEP)
    assert done.returncode == status, done.stderr
    record = json.loads((tmp_path / "attempt-3" / "rank-1.exit.json").read_text())
    assert (record["rank"], record["status"], record["reason"]) == (1, status, "not started")
    assert not record["ended_by_jobkit"]


def test_who_is_no_rank_leaves_none(tmp_path: Path) -> None:
    assert shim("no-such-program", JOBKIT_RUN_DIR=str(tmp_path)).returncode == 127
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_does_not_change_the_status(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = shim("--backend", "none", "no-such-program", JOBKIT_RUN_DIR=str(tmp_path / "file"), **STEP)
    assert done.returncode == 127
    assert "no such program" in done.stderr
