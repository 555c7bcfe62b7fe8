from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.jobs import find, process, truth

Jobkit = Callable[..., Any]
Spec = Callable[..., str]
Until = Callable[..., None]

SLEEP = "run: sleep 600\nbackend: none\n"


def test_it_returns_when_nothing_runs_any_more(jobkit: Jobkit, spec: Spec, until: Until) -> None:
    jobkit("submit", spec(SLEEP), "--id", "a")
    folder = find.one("a", os.environ).folder
    until(lambda: truth.look(folder).state == "running")
    (rank,) = truth.look(folder).tasks[0].ranks
    done = jobkit("cancel", "a")
    assert (done.status, done.out, done.err) == (0, "", "a: cancelled\n")
    assert rank.pid is not None
    assert process.identify(rank.pid) is None
    assert jobkit("wait", "a").status == 143


def test_it_can_be_repeated(jobkit: Jobkit, spec: Spec) -> None:
    jobkit("submit", spec(SLEEP), "--id", "a")
    jobkit("cancel", "a")
    again = jobkit("cancel", "a")
    assert (again.status, again.err) == (0, "a: has ended already: cancelled\n")


def test_several_jobs_are_cancelled_at_once(jobkit: Jobkit, spec: Spec) -> None:
    name = spec(SLEEP)
    for job in ("a", "b"):
        jobkit("submit", name, "--id", job)
    assert jobkit("cancel", "a", "b").status == 0
    assert [jobkit("wait", job).status for job in ("a", "b")] == [143, 143]


def test_a_mistake_in_one_name_cancels_none(jobkit: Jobkit, spec: Spec) -> None:
    jobkit("submit", spec(SLEEP), "--id", "a")
    assert jobkit("cancel", "a", "nothing").status == 2
    assert truth.look(find.one("a", os.environ).folder).state in ("starting", "running")


@pytest.mark.slow
def test_a_program_that_ignores_term_is_killed(jobkit: Jobkit, spec: Spec, work: Path, until: Until) -> None:
    text = f"run: [bash, -c, 'trap \"\" TERM; touch {work}/on; while :; do sleep 0.1; done']\nbackend: none\n"
    jobkit("submit", spec(text), "--id", "a")
    until((work / "on").exists)
    assert jobkit("cancel", "a").status == 0
    known = truth.look(find.one("a", os.environ).folder)
    assert known.state == "cancelled"
    assert known.tasks[0].ranks[0].signal == "SIGKILL"


@pytest.mark.parametrize("point", ["0", "1"])
def test_one_point_is_cancelled_alone(
    point: str, jobkit: Jobkit, spec: Spec, work: Path, until: Until
) -> None:
    text = f"run: [bash, -c, 'while [ ! -e {work}/go ]; do sleep 0.02; done']\nsweep: {{a: [1, 2]}}\n"
    jobkit("submit", spec(text), "--id", "a")
    folder = find.one("a", os.environ).folder
    until(lambda: truth.look(folder).tasks[0].state == "running")
    assert jobkit("cancel", f"a/{point}").status == 0
    (work / "go").touch()
    assert jobkit("wait", "a").status == 143
    states = {task.point: task.state for task in truth.look(folder).tasks}
    assert states.pop(point) == "cancelled"
    assert set(states.values()) == {"succeeded"}


def test_a_job_under_another_launcher_is_cancelled_there(jobkit: Jobkit, foreign: str) -> None:
    done = jobkit("cancel", foreign)
    assert done.status == 125
    assert "runs under another launcher\n\nhint: cancel it where it was started" in done.err
    assert not (find.one(foreign, os.environ).folder / "cancel").exists()
