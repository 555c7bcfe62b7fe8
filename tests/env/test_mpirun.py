from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobkit.env import mpirun
from jobkit.env.libmpi import MPICH, OPENMPI
from jobkit.env.mpirun import Mpirun, Wish
from jobkit.errors import LaunchError

WISH = Wish((("h1", 2), ("h2", 1)), "/f", ("A", "B"), "/w", ("--bind-to", "none"), ("p", "-x"))
SAYS = {
    "mpirun.openmpi (OpenRTE) 4.1.4\n\nReport bugs to http://…": (OPENMPI, "4.1.4"),
    "mpirun (Open MPI) 5.0.11\n\nReport bugs to http://…": (OPENMPI, "5.0.11"),
    "HYDRA build details:\n    Version:                                 4.0.2\n": (MPICH, "4.0.2"),
    "Intel(R) MPI Library for Linux* OS, Version 2021.17 Build 2025": (MPICH, "2021.17"),
}


def program(folder: Path, says: str, name: str = "mpirun") -> dict[str, str]:
    (folder / name).write_text(f"#!/bin/sh\ncat <<'E'\n{says}\nE\n")
    (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize("says", SAYS)
@pytest.mark.parametrize("name", mpirun.PROGRAMS)
def test_a_launcher_is_known_by_what_it_says_of_itself(tmp_path: Path, says: str, name: str) -> None:
    environ = {**program(tmp_path, says, name)}
    environ["PATH"] = f"{tmp_path}:/bin" if name == "mpirun" else str(tmp_path)
    (tmp_path / "cat").symlink_to("/bin/cat")
    found = mpirun.find(environ)
    assert (found.path, found.vendor, found.version) == (str(tmp_path / name), *SAYS[says])


def test_none_and_an_unknown_one_are_told(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"no mpirun on PATH\n\nhint: pip install"):
        mpirun.find({"PATH": str(tmp_path)})
    with pytest.raises(LaunchError, match=r"no launcher that is known, got 'lamboot 1\.0'"):
        mpirun.find(program(tmp_path, "lamboot 1.0"))


def test_open_mpi_is_told_what_every_rank_is_to_find_by_name() -> None:
    found = Mpirun("/m/mpirun", OPENMPI, "5.0.1", "")
    assert mpirun.command(found, WISH) == (
        "/m/mpirun", "--hostfile", "/f", "--wdir", "/w", "-x", "A", "-x", "B", "-n", "3", "--bind-to", "none",
        "p", "-x",
    )  # fmt: skip
    assert mpirun.hostfile(found, WISH.hosts) == "h1 slots=2\nh2 slots=1\n"


def test_mpich_passes_its_environment_on() -> None:
    found = Mpirun("/m/mpirun", MPICH, "4.0.2", "")
    words = ("/m/mpirun", "-f", "/f", "-wdir", "/w", "-n", "3", "--bind-to", "none", "p", "-x")
    assert mpirun.command(found, WISH) == words
    assert mpirun.hostfile(found, WISH.hosts) == "h1:2\nh2:1\n"


def test_its_library_is_named_unless_the_user_has_named_one() -> None:
    found = Mpirun("/m/bin/mpirun", OPENMPI, "5.0.1", "/m/lib/libmpi.so.40")
    named = mpirun.variables(found, {"MPI_LIBNAME": "mine", "LD_LIBRARY_PATH": "/l:/m/lib"})
    assert named == {
        "MLX_MPI_LIBNAME": "/m/lib/libmpi.so.40",
        "MPI4PY_LIBMPI": "/m/lib/libmpi.so.40",
        "LD_LIBRARY_PATH": "/m/lib:/l",
    }
    assert mpirun.variables(Mpirun("/m/bin/mpirun", OPENMPI, "5.0.1", ""), {}) == {}
    systems = Mpirun("/usr/bin/mpirun", OPENMPI, "4.1.4", "/usr/lib/libmpi.so.40")
    assert "LD_LIBRARY_PATH" not in mpirun.variables(systems, {})


def test_settings_of_launchers_are_kept_and_what_they_tell_ranks_is_not() -> None:
    environ = {"OMPI_MCA_btl": "self", "OMPI_COMM_WORLD_RANK": "1", "HYDRA_LAUNCHER": "ssh", "A": "b"}
    assert mpirun.settings(environ) == {"OMPI_MCA_btl": "self", "HYDRA_LAUNCHER": "ssh"}
