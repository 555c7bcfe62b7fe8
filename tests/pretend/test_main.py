"""What a pretended rank takes from the rank of jobkit's that it is."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from jobkit.env import names
from jobkit.errors import LaunchError
from jobkit.pretend import __main__ as program
from jobkit.pretend.place import Place, Shape

OURS = {names.RANK: "3", names.SIZE: "4", names.JOB: "launch-ab", names.OUTER: "", names.RUN_DIR: "/r"}


def test_rank_and_job_are_those_that_the_agent_gave() -> None:
    one, other = (program.place(Shape("slurm", 2, 2), 0, "", OURS | {names.RANK: rank}) for rank in "13")
    assert (one.rank, one.node, one.local_rank) == (1, 0, 1)
    assert (other.rank, other.node, other.local_rank) == (3, 1, 1)
    assert one.number == other.number > 0
    assert program.place(Shape("slurm", 2, 2), 0, "", {names.JOB: "launch-cd"}).number != one.number


def test_of_jobkit_s_own_variables_only_the_job_stays(place_of: Callable[[Shape, int], Place]) -> None:
    seen = program.pretended(place_of(Shape("mpich", 1, 4), 3), OURS | {"HOME": "/h", "JOBKIT_HOME": "/j"})
    assert {name for name in seen if name.startswith("JOBKIT_")} == {names.JOB, "JOBKIT_HOME"}
    assert (seen["HOME"], seen["PMI_RANK"]) == ("/h", "3")


def test_inside_another_launcher_it_is_refused(place_of: Callable[[Shape, int], Place]) -> None:
    where = place_of(Shape("slurm", 1, 2), 1)
    seen = program.pretended(where, {})
    program.check(where, seen)
    inner = {"TORCHELASTIC_RUN_ID": "x", **dict.fromkeys(("RANK", "LOCAL_RANK", "GROUP_RANK"), "0")}
    inner |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"), "1")
    with pytest.raises(LaunchError, match=r"--as slurm:1x2: is not what is seen: torchrun says rank 0 of 1"):
        program.check(where, seen | inner)


def test_a_program_that_is_not_there_is_not_found(capsys: pytest.CaptureFixture[str]) -> None:
    environ = {**os.environ, **OURS, names.RANK: "0"}
    assert program.main(["mpich:1x1", "0", "", "/nowhere/program"], environ) == 127
    assert "no such program" in capsys.readouterr().err
