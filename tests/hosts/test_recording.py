"""Folders of recorded outputs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from jobkit.errors import SpecError
from jobkit.hosts import recording


@pytest.fixture
def folder(repository: Path, tmp_path: Path) -> Path:
    """A copy of a recorded layout, to damage."""
    return Path(shutil.copytree(repository / "tests/data/macs/ring4", tmp_path / "ring4"))


def test_hosts_come_sorted_by_name_or_in_the_order_wanted(folder: Path) -> None:
    (folder / "hostname2").rename(folder / "hostname10")
    (folder / ".git").mkdir()
    (folder / "notes.txt").touch()

    assert [host.name for host in recording.read(str(folder))] == [
        "hostname1",
        "hostname3",
        "hostname4",
        "hostname10",
    ]
    assert [host.name for host in recording.read(str(folder), ("hostname4", "hostname1"))] == [
        "hostname4",
        "hostname1",
    ]


def test_a_host_as_it_was_recorded(folder: Path) -> None:
    host = recording.read(str(folder), ("hostname1",))[0]

    assert (host.addresses, host.bridge, host.networks) == (("123.123.123.1",), "bridge0", None)
    assert host.bridge_name == "Thunderbolt Bridge"
    assert [device.name for device in host.rdma] == ["rdma_en2", "rdma_en3", "rdma_en4"]
    assert [port.interface for port in host.ports] == ["en2", "en3", "en4"]


def test_networks_are_known_when_addresses_and_routes_are_recorded(folder: Path) -> None:
    (folder / "hostname1" / "ifconfig.txt").write_text("en0: up\n\tinet 10.1.1.1 netmask 0xffffff00\n")
    assert recording.read(str(folder), ("hostname1",))[0].networks is None
    (folder / "hostname1" / "netstat.txt").write_text("")

    networks = recording.read(str(folder), ("hostname1",))[0].networks

    assert networks is not None and [network.cidr for network in networks] == ["10.1.1.0/24"]


def test_what_may_be_missing_may_be_missing(folder: Path) -> None:
    (folder / "hostname1" / "ibv_devices.txt").unlink()
    (folder / "hostname1" / "ipconfig_getifaddr_en0.txt").unlink()

    host = recording.read(str(folder), ("hostname1",))[0]

    assert (host.rdma, host.addresses) == ((), ())


@pytest.mark.parametrize("name", ["system_profiler.json", "networksetup.txt"])
def test_what_must_be_there_is_missed_by_name(folder: Path, name: str) -> None:
    (folder / "hostname1" / name).unlink()

    with pytest.raises(SpecError, match=rf"hostname1/{name}: no such file"):
        recording.read(str(folder))


def test_names_that_no_host_has_are_refused(folder: Path) -> None:
    with pytest.raises(SpecError, match=r"no recording of a host, got '\.\./x', expected one of hostname1,"):
        recording.read(str(folder), ("../x",))
    (folder / "-oProxyCommand=reboot").mkdir()
    with pytest.raises(SpecError, match="not a host's name"):
        recording.read(str(folder))


def test_folders_without_hosts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no recordings of hosts"):
        recording.read(str(tmp_path))
    with pytest.raises(SpecError, match="cannot be read"):
        recording.read(str(tmp_path / "none"))


def test_nothing_waits_on_a_pipe_and_no_byte_is_guessed(folder: Path) -> None:
    path = folder / "hostname1" / "ibv_devices.txt"
    path.write_bytes(b"\xff")
    with pytest.raises(SpecError, match="not UTF-8"):
        recording.read(str(folder))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SpecError, match="is no file"):
        recording.read(str(folder))
