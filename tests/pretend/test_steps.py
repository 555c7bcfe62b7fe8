"""Every rank of a pretended step finds itself where it is, by the detector of the launcher itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jobkit.env.detect import detect
from jobkit.env.facts import facts
from jobkit.env.placement import Facts, Found
from jobkit.pretend.place import Place, Shape
from jobkit.pretend.steps import STEPS

PlaceOf = Callable[[Shape, int], Place]
RECORDED = Path(__file__).parent.parent / "data" / "launchers"


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 1), (2, 3)], ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("launcher", STEPS)
def test_a_detector_finds_what_was_pretended(
    launcher: str, shape: tuple[int, int], place_of: PlaceOf
) -> None:
    nodes, per_node = shape
    jobs = set()
    for rank in range(nodes * per_node):
        where = place_of(Shape(launcher, nodes, per_node), rank)
        environ = STEPS[launcher](where)
        found = detect(environ, facts(environ))
        got = found.placement
        assert got is not None, found.reason
        assert (found.launcher, got.rank, got.size) == (launcher, rank, nodes * per_node)
        assert (got.local_rank, got.node) in ((rank % per_node, rank // per_node), (rank % per_node, None))
        assert got.local_size in (per_node, None)
        assert got.nodes in (nodes, None)
        assert set(got.hosts) <= {where.host, None}
        assert isinstance(found.found, Found)
        jobs.add((found.found.job, found.found.first_host))
    assert len(jobs) == 1


@pytest.mark.parametrize("launcher", STEPS)
def test_every_value_is_text_and_no_daemon_is_promised(launcher: str, place_of: PlaceOf) -> None:
    environ = STEPS[launcher](place_of(Shape(launcher, 2, 2), 3))
    assert all(isinstance(value, str) and value for value in environ.values())
    assert not {name for name in environ if "URI" in name or name.endswith("_FD")}


@pytest.mark.parametrize(("launcher", "file"), [("openmpi", "openmpi-5"), ("mpich", "mpich-4")])
def test_the_names_are_those_that_were_recorded(launcher: str, file: str, place_of: PlaceOf) -> None:
    recorded = (RECORDED / f"{file}.txt").read_text()
    assert [n for n in STEPS[launcher](place_of(Shape(launcher, 1, 2), 1)) if f"\n{n}=" not in recorded] == []


def test_a_step_of_slurm_says_what_srun_says(place_of: PlaceOf) -> None:
    environ = STEPS["slurm"](place_of(Shape("slurm", 2, 4), 5))
    wanted = {
        "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1",
        "SLURM_GTIDS": "4,5,6,7",
        "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
        "SLURM_STEP_NUM_TASKS": "8",
        "SLURM_NTASKS": "8",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_DISTRIBUTION": "block",
    }
    assert {name: environ[name] for name in wanted} == wanted
    got = detect(environ, Facts(host="other"))
    assert got.launcher == "slurm"
