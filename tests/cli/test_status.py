from __future__ import annotations

from collections.abc import Callable
from typing import Any

Jobkit = Callable[..., Any]
Spec = Callable[..., str]


def test_people_see_how_a_job_failed(jobkit: Jobkit, spec: Spec) -> None:
    text = "run: [bash, -c, 'echo why >&2; exit 7']\nranks: 1\nbackend: none\n"
    jobkit("submit", spec(text), "--wait", "--id", "a")
    done = jobkit("status", "a")
    assert done.status == 0
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines[0] == "job a"
    assert any(line.startswith("state failed (rank 0 on ") for line in lines)
    assert "exit 7" in lines
    assert lines[-3].startswith("failed first: rank 0 on ")
    assert lines[-2:] == ["last lines of standard error of rank 0:", "why"]


def test_what_to_try_is_told_to_people_and_programs(jobkit: Jobkit, spec: Spec) -> None:
    jobkit("submit", spec("run: python nowhere.py\nbackend: none\n"), "--wait", "--id", "a")
    last = jobkit("status", "a").out.splitlines()[-1]
    assert "nowhere.py is not there" in last
    assert last.startswith("hint: ")
    assert jobkit("status", "a", "--json").json["failure"]["hints"] == [last.removeprefix("hint: ")]


def test_programs_see_the_shape_of_the_contract(jobkit: Jobkit, spec: Spec) -> None:
    jobkit("submit", spec("run: 'true'\nranks: 2\nbackend: none\n"), "--wait", "--id", "a")
    known = jobkit("status", "a", "--json").json
    assert list(known) == [
        "id", "name", "executor", "scheduler_id", "state", "reason", "attempt", "exit", "ranks", "tasks",
        "created", "started", "ended", "failure",
    ]  # fmt: skip
    assert known["exit"] == {"status": 0, "rank": None, "host": None, "signal": None, "class": "exit 0"}
    assert [rank["rank"] for rank in known["ranks"]] == [0, 1]
    assert (known["attempt"], known["tasks"], known["scheduler_id"]) == (1, [], None)
    for key in ("created", "started", "ended"):
        assert known[key].endswith("Z")


def test_a_sweep_shows_its_points_and_a_point_its_ranks(jobkit: Jobkit, spec: Spec) -> None:
    text = "run: bash -c 'exit ${{ sweep.code }}'\nbackend: none\nsweep: {code: [0, 7]}\n"
    jobkit("submit", spec(text), "--wait", "--id", "a")
    known = jobkit("status", "a", "--json").json
    assert [(task["id"], task["values"], task["state"]) for task in known["tasks"]] == [
        ("a/0", {"code": "0"}, "succeeded"),
        ("a/1", {"code": "7"}, "failed"),
    ]
    assert known["ranks"] == []
    assert (known["state"], known["reason"], known["exit"]["status"]) == (
        "failed",
        f"point 1: rank 0 on {known['exit']['host']}: exit 7",
        7,
    )
    point = jobkit("status", "a/1", "--json").json
    assert (point["id"], point["state"], len(point["ranks"]), point["tasks"]) == ("a/1", "failed", 1, [])
    shown = jobkit("status", "a").out
    assert "code=7" in shown
    assert "failed first: point 1, rank 0 on " in shown


def test_an_unknown_job_is_a_mistake(jobkit: Jobkit) -> None:
    done = jobkit("status", "nothing")
    assert (done.status, done.out) == (2, "")
    assert "no such job, got 'nothing'" in done.err
