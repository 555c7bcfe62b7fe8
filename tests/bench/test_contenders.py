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
    found = contenders.peers(["mpi", "gloo"], "shm", [open_mpi, mpich])

    assert names(found) == ["openmpi", "mpich", "mpich-serialized", "gloo"]
    assert found[0].mpiexec == open_mpi.replace("python", "mpiexec")
    assert "JOBKIT_BENCH_THREAD_LEVEL" in found[2].environ


def test_peers_as_they_come_are_all_but_the_tuned_ones(mpich: str) -> None:
    found = contenders.peers(["mlx", "mpi"], "tcp", [mpich])

    assert names(contenders.as_they_come(found)) == ["mlx", "mpich"]
    assert names(contenders.again(found)) == ["mlx-default", "mpich-default"]
    assert all(one.is_default for one in contenders.again(found))
    assert not any(one.is_default for one in found)


def test_tcp_is_for_those_that_have_a_choice(open_mpi: str) -> None:
    assert [one.tcp for one in contenders.peers(["mpi"], "tcp", [open_mpi])] == [True]
    assert contenders.ours("tcp").environ == {"JOBKIT_SHM": "0"}
    assert contenders.ours("shm").environ == {}


def test_the_limit_is_that_of_the_transport() -> None:
    assert (contenders.limit("tcp").library, contenders.limit("tcp").size) == ("exchange", 2)
    assert (contenders.limit("shm").library, contenders.limit("shm").size) == ("memcpy", 1)


def test_a_file_is_a_contender_too(tmp_path: Path) -> None:
    (tmp_path / "mine.py").touch()

    (found,) = contenders.peers([str(tmp_path / "mine.py")], "shm", [])

    assert (found.name, found.library) == ("mine", str(tmp_path / "mine.py"))


@pytest.mark.parametrize(
    ("name", "told"), [("nccl", "one of mlx, mpi, gloo"), ("no/such.py", "no such file")]
)
def test_an_unknown_peer_is_a_complaint(name: str, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        contenders.peers([name], "shm", [])


def test_over_mpi_ours_runs_under_its_launcher_in_the_first_interpreter(open_mpi: str, mpich: str) -> None:
    ours = contenders.ours("shm", "mpi", (open_mpi, mpich))
    assert (ours.name, ours.library, ours.python, ours.mpi) == ("jobkit", "native", open_mpi, "openmpi")
    assert ours.mpiexec == str(Path(open_mpi).parent / "mpiexec")
    assert ours.environ == {"JOBKIT_BACKEND": "mpi"}
