from __future__ import annotations

import pytest

from jobkit.env.launchers.flux import detect
from jobkit.env.placement import Facts, Found, NotARank, Placement

TASK = {
    "FLUX_TASK_RANK": "2",
    "FLUX_JOB_SIZE": "4",
    "FLUX_TASK_LOCAL_ID": "0",
    "FLUX_JOB_NNODES": "2",
    "FLUX_JOB_ID": "f2x",
}


@pytest.mark.parametrize(
    ("nodes", "placement"),
    [
        ("1", Placement(2, 4, 0, 4, 0, 1, ("b",) * 4)),
        ("2", Placement(2, 4, 0, None, None, 2, (None, None, "b", None))),
        ("4", Placement(2, 4, 0, 1, None, 4, (None, None, "b", None))),
    ],
)
def test_what_is_known_of_the_nodes_depends_on_their_number(nodes: str, placement: Placement) -> None:
    found = detect({**TASK, "FLUX_JOB_NNODES": nodes}, Facts("b"))
    assert isinstance(found, Found)
    assert (found.placement, found.job) == (placement, "flux-f2x")


def test_jobs_of_two_instances_are_told_apart_by_their_path() -> None:
    found = detect({**TASK, "FLUX_JOB_ID_PATH": "/f1/f2x"}, Facts("b"))
    assert isinstance(found, Found)
    assert found.job == "flux-/f1/f2x"


def test_a_batch_script_is_no_task() -> None:
    found = detect({"FLUX_ENCLOSING_ID": "f9", "FLUX_URI": "local:///run/flux"}, Facts("b"))
    assert isinstance(found, NotARank)
    assert "flux run -n N jobkit exec" in found.reason
