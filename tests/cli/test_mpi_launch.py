"""`jobkit launch --backend mpi` with the real launchers of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from clusters import mpi

from jobkit.cli.mpi_launch import counted
from jobkit.errors import SpecError

HERE = os.uname().nodename
LAUNCH = (sys.executable, "-m", "jobkit", "launch", "--backend", "mpi", "-n", "2")
RANK = 'echo ${OMPI_COMM_WORLD_RANK:-$PMI_RANK} $JOBKIT_RANK$JOBKIT_SIZE "$A" $(pwd); exit 3'
SUM = """
import mlx.core as mx
world = mx.distributed.init(strict=True, backend="mpi")
print(mx.distributed.all_sum(mx.array(world.rank() + 1)).item())
"""


@pytest.fixture(params=mpi.NAMES)
def launcher(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mpi.Mpi:
    """Each launcher of MPI, the first on PATH."""
    found = mpi.find(request.param)
    if isinstance(found, str):
        pytest.skip(found)
    path = os.environ["PATH"]
    if Path(found.mpirun).parent != Path("/usr/bin"):
        path = f"{Path(found.mpirun).parent}:{path}"
    else:
        (tmp_path / "bin").mkdir()
        # Not a link: MPICH's looks for its other programs beside itself.
        (tmp_path / "bin" / "mpirun").write_text(f'#!/bin/sh\nexec {found.mpirun} "$@"\n')
        (tmp_path / "bin" / "mpirun").chmod(0o755)
        path = f"{tmp_path}/bin:{path}"
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("JOBKIT_HOME", str(tmp_path / "home"))
    return found


def launch(found: mpi.Mpi, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    flags = [f"--mpi-arg={' '.join((*found.flags, *found.here))}"]
    command = [*LAUNCH, *flags, *words]
    return subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=cwd, timeout=120
    )


def test_its_ranks_find_the_variables_and_its_status_is_the_jobs(launcher: mpi.Mpi, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    ran = launch(launcher, "--env", "A=x 'y'", "--cwd", str(folder), "--", "sh", "-c", RANK, cwd=tmp_path)
    lines = sorted(line for line in ran.stdout.splitlines() if "x 'y'" in line)
    assert lines[0].endswith(f" x 'y' {folder}"), ran
    assert ran.returncode == 3
    assert ran.stderr.splitlines()[-1].startswith("jobkit: error: ")
    assert ran.stderr.splitlines()[-1].endswith("ended with status 3")
    assert list((tmp_path / "home").iterdir()) == []


def test_mlx_finds_the_library_of_open_mpi(launcher: mpi.Mpi, tmp_path: Path) -> None:
    pytest.importorskip("mlx.core")
    if launcher.launcher != "openmpi":
        pytest.skip("MLX takes Open MPI's library alone")
    (tmp_path / "sum.py").write_text(SUM)
    ran = launch(launcher, "sum.py", cwd=tmp_path)
    assert "".join(ran.stdout.split()) == "33", ran.stderr


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("no-such-program",), 127, "no-such-program: no such program"),
        (("/etc/passwd",), 126, "/etc/passwd: is not executable"),
        (("--stdin", "1", "true"), 2, "mpirun gives standard input to rank 0 alone"),
        (("--mpi-arg", "'", "true"), 2, "--mpi-arg: cannot be split"),
        (("--hosts", "a:22", "true"), 2, "mpirun takes names of hosts alone"),
    ],
)
def test_what_cannot_be_is_told(words: tuple[str, ...], status: int, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "mpirun").write_text("#!/bin/sh\necho 'mpirun (Open MPI) 5.0.11'\n")
    (folder / "mpirun").chmod(0o755)
    environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "JOBKIT_HOME": str(tmp_path / "home")}
    ran = subprocess.run([*LAUNCH, *words], capture_output=True, text=True, env=environ, timeout=60)
    assert (ran.returncode, message in ran.stderr) == (status, True), ran.stderr


def test_without_mpirun_the_remedy_is_told(tmp_path: Path) -> None:
    ran = subprocess.run(
        [*LAUNCH, "true"], capture_output=True, text=True, env={"PATH": str(tmp_path)}, timeout=60
    )
    assert ran.returncode == 125
    assert "no mpirun on PATH" in ran.stderr


def test_hosts_have_the_names_that_all_of_them_know() -> None:
    assert counted(("127.0.0.1", "localhost")) == (("localhost", 2),)
    assert counted(("127.0.0.1", "h1")) == ((HERE, 1), ("h1", 1))
    with pytest.raises(SpecError, match="its entries do not follow each other"):
        counted(("h1", "h2", "h1"))
