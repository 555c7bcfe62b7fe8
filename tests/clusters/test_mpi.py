"""The library that is chosen for a launcher's ranks, by real launchers and real libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from clusters import mpi
from clusters.slurm import Slurm

# Opens the library chosen and says how many ranks there are, by what every MPI library has: MPICH's handles
# are numbers that its ABI fixes, Open MPI's the addresses of its objects.
WORLD = """
import ctypes, os, sys
from jobkit.env.libmpi import OPENMPI
from jobkit.env.mlx import mpi
chosen = mpi.library(os.environ, sys.argv[1])
library = ctypes.CDLL(chosen.path, ctypes.RTLD_GLOBAL)
library.MPI_Init(None, None)
if chosen.vendor == OPENMPI:
    world = ctypes.byref(ctypes.c_char.in_dll(library, "ompi_mpi_comm_world"))
else:
    world = ctypes.c_int(0x44000000)
size = ctypes.c_int()
library.MPI_Comm_size(world, ctypes.byref(size))
print(size.value, flush=True)
library.MPI_Finalize()
"""

MLX = """
import os, sys
from jobkit.env.mlx import mpi
os.environ |= mpi.variables(mpi.library(os.environ, sys.argv[1]), os.environ)
import mlx.core as mx
group = mx.distributed.init(strict=True, backend="mpi")
print(mx.distributed.all_sum(mx.array(group.rank() + 1)).item(), flush=True)
"""


# MLX's own choice, which is MPI where nothing else is set up for it.
ANY = """
import mlx.core as mx
group = mx.distributed.init(strict=True)
print(mx.distributed.all_sum(mx.array(group.rank() + 1)).item(), flush=True)
"""


def said(command: tuple[str, ...]) -> str:
    """Return what the ranks wrote, without the ends of lines, which come in any order."""
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return "".join(ran.stdout.split())


def shim(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "jobkit.env", "--backend", "mpi", "--", sys.executable, *words)


def write(folder: Path, program: str) -> str:
    (folder / "program.py").write_text(program)
    return str(folder / "program.py")


def test_ranks_meet_with_the_library_that_fits_their_launcher(mpirun: mpi.Mpi, tmp_path: Path) -> None:
    program = write(tmp_path, WORLD)
    assert said(mpirun.command(2, sys.executable, program, mpirun.launcher, here=True)) == "22"


@pytest.mark.parametrize("mpirun", ["Open MPI 4", "Open MPI 5"], indirect=True)
def test_mlx_sums_under_every_open_mpi(mpirun: mpi.Mpi, tmp_path: Path) -> None:
    pytest.importorskip("mlx.core")
    program = write(tmp_path, MLX)
    assert said(mpirun.command(2, sys.executable, program, mpirun.launcher, here=True)) == "33"


def test_mlx_makes_one_group_with_any_mpi(mpirun: mpi.Mpi, tmp_path: Path) -> None:
    pytest.importorskip("mlx.core")
    assert said(mpirun.command(2, *shim(write(tmp_path, ANY)))) == "33"


@pytest.mark.parametrize(
    ("mpirun", "other"), [("Open MPI 4", "MPICH 4"), ("MPICH 4", "Open MPI 4")], indirect=["mpirun"]
)
def test_the_other_library_is_refused_before_the_program_starts(mpirun: mpi.Mpi, other: str) -> None:
    library = mpi.find(other)
    if isinstance(library, str):
        pytest.skip(library)
    command = mpirun.command(2, *shim("-c", "print('started')"))
    environ = {**os.environ, "MLX_MPI_LIBNAME": library.library}
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, "started" in ran.stdout) == (125, False)
    assert f"the launcher {mpirun.launcher} offers" in ran.stderr
    assert library.library in ran.stderr
    assert "hint: unset MLX_MPI_LIBNAME" in ran.stderr


@pytest.mark.parametrize("kind", ["pmix", "pmi2"])
def test_ranks_of_srun_meet_with_a_library_that_speaks_its_interface(
    cluster: Slurm, tmp_path: Path, kind: str
) -> None:
    step = cluster.run("srun", f"--mpi={kind}", "-N1", "-n2", sys.executable, write(tmp_path, WORLD), "slurm")
    assert "".join(step.stdout.split()) == "22", step


def test_mlx_sums_under_srun_with_pmix(cluster: Slurm, tmp_path: Path) -> None:
    pytest.importorskip("mlx.core")
    step = cluster.run("srun", "--mpi=pmix", "-N1", "-n2", sys.executable, write(tmp_path, MLX), "slurm")
    assert "".join(step.stdout.split()) == "33", step


def test_without_an_interface_they_are_refused_with_the_line_to_use(cluster: Slurm, tmp_path: Path) -> None:
    step = cluster.run(
        "srun", "--mpi=none", "-n1", sys.executable, write(tmp_path, WORLD), "slurm", check=False
    )
    assert "slurm offers no interface of MPI" in step.stderr
    assert "hint: srun --mpi=p" in step.stderr
