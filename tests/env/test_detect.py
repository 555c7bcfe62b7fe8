from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.env import launchers
from jobkit.env.detect import DETECTORS, NO_LAUNCHER, detect
from jobkit.env.placement import Facts, Placement

HERE = Facts(host="node-1")
PLACED = {
    "JOBKIT_RANK": "1",
    "JOBKIT_SIZE": "2",
    "JOBKIT_LOCAL_RANK": "1",
    "JOBKIT_LOCAL_SIZE": "2",
    "JOBKIT_NODE": "0",
    "JOBKIT_NODES": "1",
}


def test_every_file_of_the_folder_is_a_detector() -> None:
    folder = Path(next(iter(launchers.__path__)))
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "read", "batch"}
    assert files == {name for name, _ in DETECTORS}


@pytest.mark.parametrize(("name", "ask"), DETECTORS)
def test_an_empty_environment_is_nobodys(name: str, ask: object) -> None:
    assert ask({}, HERE) is None  # type: ignore[operator]


def test_no_launcher_is_rank_0_of_1() -> None:
    found = detect({}, HERE)
    assert (found.launcher, found.reason) == (None, NO_LAUNCHER)
    assert found.placement == Placement(0, 1, 0, 1, 0, 1, ("node-1",))
    assert found.evidence == tuple((name, "not found") for name, _ in DETECTORS)


def test_jobkit_wins_over_the_variables_that_it_sets() -> None:
    found = detect({**PLACED, "RANK": "7", "WORLD_SIZE": "8"}, HERE)
    assert (found.launcher, found.reason) == ("jobkit", "jobkit says rank 1 of 2")
    said = {name: answer for name, answer in found.evidence if answer != "not found"}
    assert said == {"jobkit": "rank 1 of 2", "env": "rank 7 of 8"}
