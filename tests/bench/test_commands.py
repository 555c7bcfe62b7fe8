from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobkit.bench import commands, contenders
from jobkit.bench.contenders import Contender
from jobkit.bench.places import Place
from jobkit.errors import LaunchError
from jobkit.native import gangfile, hostfile, jaccl

TWO = (Place("10.0.0.1", "eth1", 11, "b:1", "h1"), Place("10.0.0.2", "eth1", 12, "b:2", "h2"))


def starts(
    contender: Contender, tmp_path: Path, places: tuple[Place, ...] = (Place(),)
) -> list[commands.Start]:
    held = commands.hold(4)
    try:
        return commands.starts(
            contender, 4, tmp_path, held, places, {"PATH": "/bin", "OMPI_X": "1", "RANK": "7"}
        )
    finally:
        held.release()


def test_ranks_find_each_other_through_the_files_of_the_shim_and_of_mlx(tmp_path: Path) -> None:
    found = starts(contenders.ours("shm"), tmp_path)

    gang = gangfile.read(found[0].environ["JOBKIT_GANG_FILE"])
    table = hostfile.read(found[3].environ["MLX_HOSTFILE"], rank=3, size=4)
    assert [[f"127.0.0.1:{member.port}"] for member in gang.members] == table
    assert len(gangfile.read_token(found[0].environ["JOBKIT_TOKEN_FILE"])) == 32
    assert [start.environ["MLX_RANK"] for start in found] == ["0", "1", "2", "3"]
    assert {start.environ["MASTER_PORT"] for start in found} != {str(gang.members[0].port)}


def test_a_launcher_around_the_measurement_is_not_seen_by_the_ranks(tmp_path: Path) -> None:
    found = starts(contenders.ours("shm"), tmp_path)

    assert "OMPI_X" not in found[0].environ
    assert found[2].environ["RANK"] == "2"


def test_over_rdma_one_device_of_this_host_leads_to_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaccl, "devices", lambda _: (["rxe0", "rxe1"], ""))
    found = starts(contenders.ours("shm", "jaccl"), tmp_path)
    matrix = json.loads(Path(found[3].environ["MLX_IBV_DEVICES"]).read_text())
    assert matrix == [[None if i == j else "rxe0" for j in range(4)] for i in range(4)]
    assert (found[0].environ["JOBKIT_BACKEND"], found[0].environ["JOBKIT_SHM"]) == ("jaccl", "0")


def test_where_no_device_can_be_used_rdma_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaccl, "devices", lambda _: ([], "there is no RDMA device"))
    with pytest.raises(LaunchError, match="--backend jaccl: there is no RDMA device"):
        starts(contenders.ours("shm", "jaccl"), tmp_path)


def test_a_half_of_the_ranks_runs_in_each_of_two_namespaces(tmp_path: Path) -> None:
    found = starts(contenders.ours("tcp"), tmp_path, TWO)

    assert [start.command[1] for start in found] == ["--net=/proc/11/ns/net"] * 2 + [
        "--net=/proc/12/ns/net"
    ] * 2
    members = json.loads((tmp_path / "gang.json").read_text())["ranks"]
    assert [member["addresses"] for member in members] == [["10.0.0.1"]] * 2 + [["10.0.0.2"]] * 2
    assert found[3].environ["MASTER_ADDR"] == "10.0.0.1"


def test_an_mpi_library_has_its_launcher_start_them(tmp_path: Path) -> None:
    contender = Contender("mpich", "mpi", "/m/python", {"A": "1"}, "/m/mpiexec", "mpich")

    (start,) = starts(contender, tmp_path)

    assert start.command[:4] == ("/m/mpiexec", "-n", "4", "/m/python")
    assert start.environ["A"] == "1"
    assert "MLX_RANK" not in start.environ


def test_ports_are_held_by_one_measurement_only() -> None:
    first, second = commands.hold(3), commands.hold(3)
    ports = [one.port for held in (first, second) for pair in held.reservations for one in pair]
    first.release()
    second.release()

    assert len(set(ports)) == 12
