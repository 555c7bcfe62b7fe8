from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from jobkit.bench import mpiexec
from jobkit.bench.places import Place

HERE = Place(host="here")
ONE, OTHER = (Place(f"10.0.0.{n}", "eth1", 10 + n, "b", f"host-{n}") for n in (1, 2))
AGENT = Path("/x/enter")


def words(family: str, where: list[Place], *, tcp: bool = False) -> str:
    return " ".join(mpiexec.command("mpiexec", family, where, ("prog", "x"), AGENT, tcp=tcp))


def test_the_launcher_beside_the_interpreter_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert mpiexec.find(str(tmp_path / "python")) == "mpiexec"

    (tmp_path / "mpiexec").touch()
    assert mpiexec.find(str(tmp_path / "python")) == str(tmp_path / "mpiexec")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("mpiexec (Open MPI) 5.0.11", mpiexec.OPEN_MPI),
        ("mpiexec (OpenRTE) 4.1.4", mpiexec.OPEN_MPI),
        ("prterun (PRRTE) 3.0.1", mpiexec.OPEN_MPI),
        ("HYDRA build details:", mpiexec.MPICH),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.1", mpiexec.MPICH),
    ],
)
def test_a_launcher_says_whose_it_is(tmp_path: Path, told: str, expected: str) -> None:
    path = tmp_path / "mpiexec"
    path.write_text(f"#!/bin/sh\necho '{told}'\n")
    path.chmod(0o755)

    assert mpiexec.flavour(str(path)) == expected


def test_a_launcher_that_is_not_there_fails_when_it_is_started() -> None:
    assert mpiexec.flavour("/no/such/mpiexec") == mpiexec.MPICH


def test_in_one_network_there_is_one_command() -> None:
    assert words(mpiexec.MPICH, [HERE] * 2) == "mpiexec -n 2 prog x"
    assert words(mpiexec.OPEN_MPI, [HERE] * 2) == "mpiexec --map-by :OVERSUBSCRIBE -n 2 prog x"


def test_tcp_is_forced_on_the_interface_of_the_place() -> None:
    assert "--mca btl self,tcp --mca btl_tcp_if_include eth1" in words(mpiexec.OPEN_MPI, [ONE], tcp=True)
    assert mpiexec.environ(mpiexec.MPICH, ONE, tcp=True)["FI_TCP_IFACE"] == "eth1"
    assert mpiexec.environ(mpiexec.MPICH, ONE, tcp=False) == {}


def test_in_two_networks_mpich_enters_the_second_for_its_half() -> None:
    assert words(mpiexec.MPICH, [ONE, ONE, OTHER, OTHER]) == (
        "nsenter --net=/proc/11/ns/net --uts=/proc/11/ns/uts -- mpiexec -n 2 prog x "
        ": -n 2 nsenter --net=/proc/12/ns/net --uts=/proc/12/ns/uts -- prog x"
    )


def test_in_two_networks_open_mpi_has_two_hosts() -> None:
    found = words(mpiexec.OPEN_MPI, [ONE, OTHER], tcp=True)

    assert "--host host-1:1,host-2:1 --prtemca plm_ssh_agent /x/enter -n 2 prog x" in found


def test_the_agent_runs_the_command_of_its_host(tmp_path: Path) -> None:
    script = tmp_path / "enter"
    script.write_text(mpiexec.agent_script(HERE))
    script.chmod(0o755)

    done = subprocess.run([script, "host", "A=1;", "echo", "$A"], capture_output=True, text=True, check=True)

    assert done.stdout == "1\n"
