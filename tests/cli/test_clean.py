from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.jobs import find

Jobkit = Callable[..., Any]
Spec = Callable[..., str]

TRUE = "run: 'true'\nbackend: none\n"


def age(job: str, days: int) -> None:
    """Make a job look as if it had ended days ago."""
    from datetime import timedelta

    from jobkit.jobs import clock

    path = find.one(job, os.environ).folder / "record.json"
    raw = json.loads(path.read_text())
    raw["ended"] = clock.rfc3339(clock.now() - timedelta(days=days))
    path.write_text(json.dumps(raw))


@pytest.fixture
def three(jobkit: Jobkit, spec: Spec) -> None:
    """A job that ended ten days ago, one that ended now, and one that runs."""
    jobkit("submit", spec(TRUE), "--wait", "--id", "old")
    jobkit("submit", spec(TRUE), "--wait", "--id", "new")
    jobkit("submit", spec("run: sleep 600\nbackend: none\n"), "--id", "running")
    age("old", 10)


def left() -> list[str]:
    return [found.id for found in find.every(os.environ)]


@pytest.mark.parametrize(
    ("words", "removed"),
    [
        ([], ["old"]),
        (["--older-than", "11d"], []),
        (["--older-than", "12h"], ["old"]),
        (["--all"], ["new", "old"]),
        (["new"], ["new"]),
        (["new", "--older-than", "1d"], []),
        (["o"], ["old"]),
    ],
)
def test_what_is_removed_is_printed(
    words: list[str], removed: list[str], jobkit: Jobkit, three: None
) -> None:
    shown = jobkit("clean", "--dry-run", *words)
    assert (shown.status, shown.out.split()) == (0, removed)
    assert left() == ["new", "old", "running"]
    done = jobkit("clean", *words)
    assert (done.status, done.out.split()) == (0, removed)
    assert left() == [job for job in ("new", "old", "running") if job not in removed]


def test_a_job_that_runs_is_not_removed_even_by_name(jobkit: Jobkit, three: None) -> None:
    done = jobkit("clean", "running", "new")
    assert (done.status, done.out) == (2, "new\n")
    assert "job running: has not ended" in done.err
    assert left() == ["old", "running"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--older-than", "soon"], "--older-than: "),
        (["--all", "new"], "--all: "),
        (["nothing"], "no such job"),
    ],
)
def test_mistakes_remove_nothing(words: list[str], message: str, jobkit: Jobkit, three: None) -> None:
    done = jobkit("clean", *words)
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert left() == ["new", "old", "running"]


def test_a_users_run_dir_keeps_its_other_files(jobkit: Jobkit, spec: Spec, work: Path) -> None:
    (work / "runs").mkdir()
    (work / "runs" / "notes").touch()
    jobkit("submit", spec(TRUE + "run_dir: runs\n"), "--wait", "--id", "a")
    assert jobkit("clean", "a").out == "a\n"
    assert [path.name for path in (work / "runs").iterdir()] == ["notes"]
    assert left() == []


def test_a_job_that_runs_under_another_launcher_is_kept(jobkit: Jobkit, foreign: str) -> None:
    done = jobkit("clean", "--all")
    assert (done.status, done.out) == (0, "")
    assert "has not ended for certain, so it is not removed" in jobkit("clean", "last").err
    assert find.one(foreign, os.environ).folder.exists()
