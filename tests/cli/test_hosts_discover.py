"""`jobkit hosts discover`: hostfiles from recorded layouts."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.cli import hosts_discover


@pytest.fixture
def discover(jobkit: Callable[..., Any], repository: Path) -> Callable[..., Any]:
    """Discover a recorded layout."""
    return lambda name, *words: jobkit(
        "hosts", "discover", "--from", str(repository / "tests/data/macs" / name), *words
    )


def test_the_hostfile_alone_goes_to_stdout_and_the_commands_to_stderr(discover: Callable[..., Any]) -> None:
    done = discover("mesh4", "--env", "MLX_METAL_FAST_SYNCH=1")

    assert done.status == 0
    assert done.json["backend"] == "jaccl"
    assert done.json["envs"] == ["MLX_METAL_FAST_SYNCH=1"]
    assert done.json["hosts"][0] == {
        "ssh": "m3-ultra-1",
        "ips": ["123.123.123.1"],
        "rdma": [None, "rdma_en5", "rdma_en4", "rdma_en3"],
    }
    assert (
        "# on m3-ultra-4 (until it restarts; --verbose shows what keeps it):\n"
        "sudo ifconfig bridge0 down\nsudo ifconfig en3 inet " in done.err
    )
    assert "no ifconfig.txt and netstat.txt of m3-ultra-1, " in done.err
    assert "take it back" not in done.err


def test_verbose_says_what_was_found_and_how_to_take_it_back(discover: Callable[..., Any]) -> None:
    done = discover("ring4", "--verbose")

    assert "cable: hostname1 -- hostname2: en2/en3 80 Gb/s\n" in done.err
    assert "not jaccl: no mesh of cables: hostname1 and hostname3 have no cable between them" in done.err
    assert "backend: jaccl-ring, cables between two hosts: 1, rank order: hostname1, " in done.err
    assert "# to take it back on hostname1:\n" in done.err


def test_the_hostfile_goes_to_a_file(discover: Callable[..., Any], work: Path) -> None:
    done = discover("ring4", "--backend", "ring", "--output", "h.json")

    assert (done.status, done.out) == (0, "")
    written = json.loads((work / "h.json").read_text())
    assert (written["backend"], len(written["hosts"])) == ("ring", 4)
    for host in written["hosts"]:
        assert f" inet {host['ips'][0]} netmask " in done.err


def test_a_topology_that_is_not_there_is_status_1_with_the_reason(discover: Callable[..., Any]) -> None:
    done = discover("mesh4-broken", "--backend", "jaccl")

    assert (done.status, done.out) == (1, "")
    assert done.err == (
        "jobkit: error: jaccl: no mesh of cables: m3-ultra-1 and m3-ultra-2 have no cable between them\n"
    )


def test_the_graph_alone(discover: Callable[..., Any]) -> None:
    done = discover("mesh4", "--dot")

    assert (done.status, done.err) == (0, "")
    assert done.out.startswith('graph "G" {\n')
    assert done.out.count(" -- ") == 6


def test_addresses_keep_clear_of_recorded_networks(
    jobkit: Callable[..., Any], repository: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(repository / "tests/data/macs/pair2-double", tmp_path / "pair"))
    for host in ("left", "right"):
        (folder / host / "ifconfig.txt").write_text("en0: up\n\tinet 192.168.128.9 netmask 0xffffff00\n")
        (folder / host / "netstat.txt").write_text("Destination Gateway Flags Netif\n192.168.129 a U utun0\n")

    done = jobkit("hosts", "discover", "--from", str(folder), "--backend", "ring")

    assert [host["ips"] for host in done.json["hosts"]] == [
        ["192.168.130.1", "192.168.130.5"],
        ["192.168.130.2", "192.168.130.6"],
    ]
    assert "warning" not in done.err


def test_over_ethernet_there_are_addresses_alone(discover: Callable[..., Any]) -> None:
    done = discover("line3", "--over", "ethernet")

    assert (done.status, done.err) == (0, "")
    assert done.json["backend"] == ""
    assert done.json["hosts"][2] == {"ssh": "a3", "ips": ["123.123.123.3"], "rdma": []}


def test_over_ethernet_every_host_needs_an_address(
    jobkit: Callable[..., Any], repository: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(repository / "tests/data/macs/line3", tmp_path / "line3"))
    (folder / "a2" / "ipconfig_getifaddr_en0.txt").unlink()

    done = jobkit("hosts", "discover", "--from", str(folder), "--over", "ethernet")

    assert (done.status, done.out) == (1, "")
    assert "a2: has no address on Ethernet or Wi-Fi" in done.err


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (
            ("--backend", "rnig"),
            "--backend: unknown name, got 'rnig', expected one of ring, jaccl, jaccl-ring",
        ),
        (("--auto-setup",), "--auto-setup: a recording cannot be set up"),
        (("--record", "x"), "--record: cannot be given together with --from"),
        (("--over", "rdma", "--backend", "ring"), "--backend ring: has no RDMA"),
        (("--over", "rdma"), "m3-ultra-1: a Mac has no RDMA network, got '--over rdma'"),
        (("--hosts", "m3-ultra-1,m3-ultra-1"), "--hosts: named twice, got 'm3-ultra-1'"),
        (("--over", "ethernet", "--backend", "jaccl"), "--backend jaccl: needs cables"),
        (("--over", "ethernet", "--dot"), "--dot: needs cables"),
        (("--env", "1=2"), "--env: not a variable's name"),
    ],
)
def test_flags_that_cannot_be_honoured_are_refused(
    discover: Callable[..., Any], words: tuple[str, ...], wrong: str
) -> None:
    done = discover("mesh4", *words)

    assert (done.status, done.out) == (2, "")
    assert wrong in done.err


def recorded_ring(folder: Path, size: int) -> None:
    """Record a ring of so many Macs."""
    hardware = "".join(f"Hardware Port: Thunderbolt {n}\nDevice: en{n + 1}\n\n" for n in (1, 2))
    for host in range(size):
        buses = [
            {
                "domain_uuid_key": f"{host}-{port}",
                "receptacle_1_tag": {"receptacle_id_key": str(port)},
                "_items": [{"domain_uuid_key": f"{(host + (1, -1)[port - 1]) % size}-{3 - port}"}],
            }
            for port in (1, 2)
        ]
        own = folder / f"h{host}"
        own.mkdir(parents=True)
        (own / "system_profiler.json").write_text(json.dumps({"SPThunderboltDataType": buses}))
        (own / "networksetup.txt").write_text(hardware)


def test_250_hosts(jobkit: Callable[..., Any], tmp_path: Path) -> None:
    recorded_ring(tmp_path / "ring", 250)

    done = jobkit("hosts", "discover", "--from", str(tmp_path / "ring"))

    assert (done.status, done.json["backend"]) == (0, "ring")
    assert [host["ssh"] for host in done.json["hosts"]] == [f"h{n}" for n in range(250)]
    assert len({ip for host in done.json["hosts"] for ip in host["ips"]}) == 250
    drawn = jobkit("hosts", "graph", "--from", str(tmp_path / "ring"), "--format", "svg", "--need", "ring")
    assert (drawn.status, drawn.out.count("<path")) == (0, 250)


def test_the_flags_of_mlx_are_all_there(jobkit: Callable[..., Any]) -> None:
    pytest.importorskip("mlx.core", reason="mlx is not installed")
    theirs = subprocess.run(
        [sys.executable, "-c", "from mlx._distributed_utils.config import main; main()", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    ours = argparse.ArgumentParser()
    hosts_discover.add_arguments(ours)

    flags = set(re.findall(r"--[a-z-]+", theirs))

    assert {"--hosts", "--auto-setup", "--no-auto-setup", "--dot"} <= flags
    assert flags <= {flag for action in ours._actions for flag in action.option_strings}
