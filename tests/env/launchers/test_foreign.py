from __future__ import annotations

import subprocess
import sys

import pytest

from jobkit.env.launchers.foreign import detect
from jobkit.env.placement import Facts

SEVERAL = [
    {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4"},
    {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"},
    {"PMI_RANK": "0", "PMI_SIZE": "2"},
]


@pytest.mark.parametrize("environ", SEVERAL)
def test_one_of_several_ranks_of_another_launcher_is_told_what_to_do(environ: dict[str, str]) -> None:
    found = detect(environ, Facts())

    assert found is not None
    assert "jobkit launch" in found.reason


@pytest.mark.parametrize("environ", [{}, {"SLURM_JOB_ID": "7"}, {"PMI_SIZE": "1"}])
def test_a_process_alone_is_a_rank_like_any_other(environ: dict[str, str]) -> None:
    assert detect(environ, Facts()) is None


def test_exec_refuses_to_start_ranks_that_would_each_be_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    words = [sys.executable, "-m", "jobkit.env", "--", "echo", "started"]

    done = subprocess.run(words, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout) == (125, "")
    assert "OMPI_COMM_WORLD_SIZE=2" in done.stderr
