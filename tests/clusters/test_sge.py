"""The cluster itself: a job of a parallel environment has slots on several nodes, and its own starter."""

from __future__ import annotations

from pathlib import Path

from clusters.sge import NODES, GridEngine


def test_a_job_starts_processes_on_each_of_its_nodes(grid: GridEngine, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(
        "#!/bin/sh\n"
        'echo "$NSLOTS on $NHOSTS"\n'
        'for host in $(cut -d" " -f1 "$PE_HOSTFILE"); do qrsh -inherit "$host" hostname; done\n'
    )
    lines = grid.batch(script, "-pe", "mpi", "4").splitlines()
    assert lines[0] == "4 on 2"
    assert sorted(lines[1:]) == list(NODES)
