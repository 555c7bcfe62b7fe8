from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.bench import contenders
from jobkit.errors import SpecError


def interpreter(folder: Path, told: str) -> str:
    """Return the path of an interpreter beside an mpiexec that says `told`."""
    folder.mkdir()
    mpiexec = folder / "mpiexec"
    mpiexec.write_text(f"#!/bin/sh\necho '{told}'\n")
    mpiexec.chmod(0o755)
    return str(folder / "python")


@pytest.fixture
def open_mpi(tmp_path: Path) -> str:
    return interpreter(tmp_path / "open-mpi", "mpiexec (Open MPI) 5.0.11")


@pytest.fixture
def mpich(tmp_path: Path) -> str:
    return interpreter(tmp_path / "mpich", "HYDRA build details:")


def names(found: list[contenders.Contender]) -> list[str]:
    return [one.name for one in found]


def test_an_mpi_library_is_named_by_its_launcher_and_mpich_comes_in_both_thread_levels(
    open_mpi: str, mpich: str
) -> None:
    found = contenders.peers(["mpi", "gloo"], "auto", [open_mpi, mpich], defaults=False)

    assert names(found) == ["openmpi", "mpich", "mpich-serialized", "gloo"]
    assert found[0].mpiexec[0] == open_mpi.replace("python", "mpiexec")
    assert "JOBKIT_BENCH_THREAD_LEVEL" in found[2].environ


def test_peers_with_their_default_settings_take_part_beside(open_mpi: str, mpich: str) -> None:
    found = contenders.peers(["mlx", "mpi"], "tcp", [open_mpi, mpich], defaults=True)
    untouched = [one for one in found if one.is_default]

    assert names(untouched) == ["mlx-default", "openmpi-default", "mpich-default"]
    assert not any("tcp" in word for one in untouched for word in (*one.mpiexec, *one.environ.values()))


def test_tcp_is_forced_upon_those_that_have_a_choice(open_mpi: str, mpich: str) -> None:
    mpi, hydra, lowered = contenders.peers(["mpi"], "tcp", [open_mpi, mpich], defaults=False)

    assert "self,tcp" in mpi.mpiexec
    assert hydra.environ["FI_PROVIDER"] == lowered.environ["FI_PROVIDER"] == "tcp"
    assert contenders.ours("tcp").environ == {"JOBKIT_SHM": "0"}
    assert contenders.ours("auto").environ == {}


def test_the_limit_is_that_of_the_transport() -> None:
    assert (contenders.limit("tcp").library, contenders.limit("tcp").size) == ("exchange", 2)
    assert (contenders.limit("auto").library, contenders.limit("shm").size) == ("memcpy", 1)


def test_a_launcher_that_is_not_there_is_found_out_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert contenders.peers(["mpi"], "auto", [str(tmp_path / "python")], defaults=False)[0].mpiexec == (
        "mpiexec",
    )


def test_a_file_is_a_contender_too(tmp_path: Path) -> None:
    (tmp_path / "mine.py").touch()

    (found,) = contenders.peers([str(tmp_path / "mine.py")], "auto", [], defaults=False)

    assert (found.name, found.library) == ("mine", str(tmp_path / "mine.py"))


@pytest.mark.parametrize(
    ("name", "told"), [("nccl", "one of mlx, mpi, gloo"), ("no/such.py", "no such file")]
)
def test_an_unknown_peer_is_a_complaint(name: str, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        contenders.peers([name], "auto", [], defaults=False)
