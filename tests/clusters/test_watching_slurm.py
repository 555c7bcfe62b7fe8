"""What watching many jobs of Slurm's asks of its controller, and running one again."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clusters.slurm import Slurm


@pytest.fixture
def submit(cluster: Slurm, jobkit_home: Path, tmp_path: Path) -> Callable[..., str]:
    """Submit a spec of one rank; return what was printed."""

    def run(command: str, *lines: str, words: tuple[str, ...] = ()) -> str:
        head = ("executor: slurm", "backend: none", f"run: {command}")
        (tmp_path / "a.yaml").write_text("\n".join((*head, *lines)) + "\n")
        return cluster.run("jobkit", "submit", "a.yaml", *words, cwd=str(tmp_path)).stdout

    return run


def counting(folder: Path) -> dict[str, str]:
    """Return a PATH on which `squeue` and `scontrol` note when they were called."""
    for name in ("squeue", "scontrol"):
        lines = ("#!/bin/sh", f"date +%s.%N >> {folder}/calls", f'exec {shutil.which(name)} "$@"', "")
        (folder / name).write_text("\n".join(lines))
        (folder / name).chmod(0o700)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_many_watchers_of_many_jobs_ask_once_a_second(
    submit: Callable[..., str], cluster: Slurm, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    go = tmp_path / "go"
    waiting = json.dumps(["sh", "-c", f"until test -e {go}; do sleep .1; done"])
    jobs = [submit(waiting, words=("--id", f"j{i}")).strip() for i in range(4)]
    watchers = " & ".join(f"jobkit wait {' '.join(jobs)}" for _ in range(4))
    script = f"{watchers} & (sleep 4; touch {go}) & wait; jobkit list"
    listed = cluster.run("sh", "-c", script, **counting(programs)).stdout
    assert listed.count("succeeded") == len(jobs)
    calls = sorted(map(float, (programs / "calls").read_text().split()))
    assert len(calls) >= 3
    # How late each call was noted differs, so the rate is that of all of them.
    assert len(calls) <= calls[-1] - calls[0] + 2


def test_a_job_runs_again_with_the_files_that_it_had(
    submit: Callable[..., str], cluster: Slurm, tmp_path: Path
) -> None:
    def run(*words: str) -> Any:
        return cluster.run("jobkit", *words, cwd=str(tmp_path))

    (tmp_path / "data").write_text("then\n")
    assert submit("cat data", "snapshot: true", words=("--follow", "--wait", "--id", "a")) == "a\nthen\n"
    (tmp_path / "data").write_text("now\n")
    assert run("rerun", "a", "--as-it-was", "--follow", "--wait", "--id", "b").stdout == "b\nthen\n"
    assert run("rerun", "a", "--follow", "--wait", "--id", "c").stdout == "c\nnow\n"
    python = json.dumps([sys.executable, "-c", "print(1)"])
    assert run("rerun", "a", "--set", f"run={python}", "--follow", "--wait", "--id", "d").stdout == "d\n1\n"
