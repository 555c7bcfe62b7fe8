"""In the shell of a job of Grid Engine `jobkit launch` starts ranks on every host of the job."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from clusters.sge import NODES, GridEngine

PROGRAM = """
import json, os, pathlib, sys
import numpy as np
import jobkit.native as dist

group = dist.init(strict=True)
total = int(dist.all_sum(np.array([group.rank() + 1]))[0])
said = [group.rank(), os.uname().nodename, total]
pathlib.Path(sys.argv[1], f"{group.rank()}.json").write_text(json.dumps(said))
"""


def test_ranks_on_every_host_meet(grid: GridEngine, tmp_path: Path, jobkit_home: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    script = tmp_path / "script.sh"
    script.write_text(f"#!/bin/sh\njobkit launch -n 2 -- '{sys.executable}' '{program}' '{tmp_path}'\n")
    printed = grid.batch(script, "-pe", "mpi", "4")
    every = sorted(json.loads(file.read_text()) for file in tmp_path.glob("*.json"))
    assert [(rank, total) for rank, _, total in every] == [(rank, 10) for rank in range(4)], printed
    hosts = [host for _, host, _ in every]
    assert hosts[0] == hosts[1] != hosts[2] == hosts[3]
    assert set(hosts) == set(NODES)


def test_the_status_of_a_rank_is_that_of_the_launch(
    grid: GridEngine, tmp_path: Path, jobkit_home: Path
) -> None:
    script = tmp_path / "script.sh"
    fail = 'test "$JOBKIT_RANK" != 1 || exit 7'
    script.write_text(f"#!/bin/sh\njobkit launch -- sh -c '{fail}'\necho status $?\n")
    assert "status 7\n" in grid.batch(script, "-pe", "mpi", "2")
