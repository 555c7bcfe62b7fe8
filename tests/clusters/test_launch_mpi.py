"""`jobkit launch --hosts --backend mpi`: mpirun reaches the hosts by itself, with the system's ssh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from clusters import mpi
from clusters.site import LAPTOP, ONE, SLEEP, TWO, Launch, Site

PLACE = "echo ${OMPI_COMM_WORLD_RANK:-$PMI_RANK} $(uname -n) $SECRET; exit $STATUS"


@pytest.fixture
def settings(site: Site, mpirun: mpi.Mpi, tmp_path: Path) -> dict[str, str]:
    """What mpirun has to be told of ssh: it finds its settings by the user, not by HOME."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(
        f'#!/bin/sh\nexec /usr/bin/ssh -F {site.home}/.ssh/config -o User=user-dash "$@"\n'
    )
    own = Path(mpirun.mpirun).parent
    if own == Path("/usr/bin"):  # where there are others too
        (folder / "mpirun").write_text(f'#!/bin/sh\nexec {mpirun.mpirun} "$@"\n')
    for path in folder.iterdir():
        path.chmod(0o755)
    environ = site.environ()
    said = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "TMPDIR": str(tmp_path)}
    return {**said, "PATH": f"{folder}:{own}:{environ['PATH']}", "SECRET": "s3cret"}


def flags(mpirun: mpi.Mpi) -> list[str]:
    prefix = ("--prefix", str(Path(mpirun.mpirun).parent.parent)) if mpirun.launcher == "openmpi" else ()
    return ["--backend", "mpi", f"--mpi-arg={' '.join((*mpirun.flags, *prefix))}"]


@pytest.mark.parametrize("status", [0, 3])
def test_ranks_are_where_they_are_asked_for_and_their_status_is_returned(
    launch: Launch, mpirun: mpi.Mpi, settings: dict[str, str], status: int
) -> None:
    hosts = ("--hosts", f"{ONE},{TWO}", "-n", "2", "--env", f"STATUS={status}", "--env", "SECRET=s3cret")
    done = launch(*flags(mpirun), *hosts, "--", "sh", "-c", PLACE, environ=settings)
    # Intel's mpirun ends with 255, of several hosts, whatever its ranks failed with.
    own = 255 if status and mpirun.name == "Intel MPI" else status
    assert done.returncode == own, done.stderr
    lines = sorted(line for line in done.stdout.splitlines() if "s3cret" in line)
    every = [f"{rank} {host} s3cret" for rank, host in enumerate((ONE, ONE, TWO, TWO))]
    assert lines == every if status == 0 else set(lines) <= set(every), done.stdout


def test_a_launcher_that_is_killed_takes_mpirun_and_its_ranks_along(
    site: Site, mpirun: mpi.Mpi, settings: dict[str, str], tmp_path: Path, wait: Any
) -> None:
    hosts = ("--hosts", f"{ONE},{TWO}")
    command = (*flags(mpirun), *hosts, "--", "sh", "-c", f"echo here; {SLEEP}")
    with site.launch(*command, cwd=tmp_path, environ=settings) as process:
        assert process.stdout is not None
        lines = iter(process.stdout)
        for _ in range(2):
            assert any(line == "here\n" for line in lines)
        shown = "".join(site.hosts.run(host, "ps", "-eo", "args").stdout for host in (LAPTOP, ONE, TWO))
        assert "s3cret" not in shown
        launcher = site.hosts.run(LAPTOP, "pgrep", "-f", "jobkit launch").stdout.split()[0]
        site.hosts.run(LAPTOP, "kill", "-KILL", launcher)
        process.communicate()
    assert wait(lambda: not site.left())
