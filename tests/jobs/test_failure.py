"""Why jobs failed, of real jobs and of records that are made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jobkit.jobs import failure
from jobkit.jobs.find import Found
from jobkit.jobs.record import FAILED, SUCCEEDED, JobExit, Record, TaskRecord, settled

PROGRAM = """
import os, sys, time
import numpy as np
import jobkit.native as dist

world = dist.init()
dist.all_sum(np.ones(3))
if world.rank() == 1:
    print("giving up", file=sys.stderr)
    os._exit(9)
dist.all_max(np.ones(3))
"""


def test_a_rank_that_leaves_a_collective_to_the_others_is_told_in_full(
    start: Callable[..., Found], ended: Callable[[Found], Record], tmp_path: Path
) -> None:
    pytest.importorskip("jobkit.native._core")
    (tmp_path / "program.py").write_text(PROGRAM)
    found = start("run: python program.py\nranks: 3\n")
    known = ended(found)

    why = failure.first(found.base, known)
    assert why is not None
    told = list(failure.lines(why))
    assert told[:3] == ["last lines of standard error of rank 1:", "  giving up", "flight recorder:"]
    assert told[3].startswith("  rank 1 never entered all_max #2: its last was all_sum #1, done at ")
    shown = failure.status_json(found.base, known)["failure"]
    assert (shown["rank"], shown["class"], shown["point"]) == (1, "exit 9", None)
    assert (shown["last_lines_of"], shown["last_lines"]) == ("standard error of rank 1", ["giving up"])
    assert shown["flight_recorder"][0] == told[3].strip()
    assert shown["hints"] == []


def test_of_a_sweep_it_is_the_point_that_failed_first(
    make_record: Callable[..., Record], tmp_path: Path
) -> None:
    tasks = [
        TaskRecord("0", {}, SUCCEEDED, exit=JobExit(0)),
        TaskRecord("1", {}, FAILED, attempt=1, exit=JobExit(3, 0, "h", None, "exit 3"), failed="2026-02"),
        TaskRecord(
            "2", {}, FAILED, attempt=1, exit=JobExit(127, 0, "h", None, "not found"), failed="2026-01"
        ),
    ]
    known = settled(make_record(tasks=tuple(tasks)))
    shown = failure.status_json(tmp_path, known)["failure"]
    assert (shown["point"], shown["class"], shown["host"]) == ("2", "not found", "h")
    assert shown["last_lines_of"] is None
    assert len(shown["hints"]) == 1


@pytest.mark.parametrize("state", ["running", SUCCEEDED])
def test_what_runs_or_succeeded_has_none(
    state: str, make_record: Callable[..., Record], tmp_path: Path
) -> None:
    exit_ = JobExit(0) if state == SUCCEEDED else None
    known = settled(make_record(tasks=(TaskRecord(None, {}, state, attempt=1, exit=exit_),)))
    assert failure.first(tmp_path, known) is None
    assert failure.failure(tmp_path, known, known.tasks[0]) is None
    assert failure.status_json(tmp_path, known)["failure"] is None
