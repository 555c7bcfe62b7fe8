"""What the doctor makes of what a node has said."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import pytest

import jobkit
from jobkit.doctor import nodes
from jobkit.doctor.row import FAILS, OK, SKIPPED, WARNING, Question
from jobkit.plan import Plan
from jobkit.slurm.client import Answer

Plans = Callable[..., Plan]
SAID = {
    "host": "n1",
    "marker": "yes",
    "workdir": "yes",
    "interpreter": "yes",
    "python": platform.python_version(),
    "jobkit": jobkit.__version__,
}


def states(plan: Plan, said: dict[str, str], err: str = "") -> dict[str, str]:
    """Return the states of the rows for what a node says."""
    answer = Answer(0, "".join(f"{name} {value}\n" for name, value in said.items()), err)
    return {row.check: row.state for row in nodes.rows(plan, Path("/run"), answer)}


def test_a_node_that_sees_everything(plan: Plans) -> None:
    assert set(states(plan(), SAID).values()) == {OK}


@pytest.mark.parametrize(
    ("change", "check", "state"),
    [
        ({"marker": None}, "run folder", FAILS),
        ({"workdir": None}, "workdir", FAILS),
        ({"jobkit": None}, "python", FAILS),
        ({"python": None, "jobkit": None}, "python", FAILS),
        ({"python": None, "jobkit": None, "interpreter": None}, "python", FAILS),
        ({"jobkit": "0.0.1"}, "python", FAILS),
        ({"python": "3.10.0"}, "python", WARNING),
    ],
)
def test_what_a_node_lacks(plan: Plans, change: dict[str, str | None], check: str, state: str) -> None:
    said = {name: value for name, value in (SAID | change).items() if value is not None}
    found = states(plan(), said)
    assert found.pop(check) == state
    assert set(found.values()) == {OK}


def test_a_snapshot_needs_no_folder_on_the_node(plan: Plans) -> None:
    said = {name: value for name, value in SAID.items() if name != "workdir"}
    assert states(plan("snapshot: true"), said)["workdir"] == OK


def test_a_node_that_was_not_free_is_a_warning(plan: Plans) -> None:
    assert states(plan(), {}, "srun: error: Unable to allocate resources") == {"node": WARNING}


def test_the_step_asks_for_the_nodes_of_the_spec(plan: Plans) -> None:
    words = nodes.command(plan("slurm: {partition: gpu, account: a, extra: {hold: ''}}"), "/run/marker")
    assert {"--partition=gpu", "--account=a", "--nodes=1", "/run/marker"} < set(words)
    assert not any("qos" in word or "hold" in word for word in words)


def test_nothing_is_started_where_that_is_not_wanted(plan: Plans) -> None:
    (row,) = nodes.checks(Question({}, plan(), may_run=False))
    assert row.state == SKIPPED
