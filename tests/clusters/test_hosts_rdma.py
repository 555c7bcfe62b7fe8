"""`jobkit hosts` on guests with soft-RoCE devices: real sysfs, real `rdma link`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import guests

# Two kernels on emulated processors.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
HOSTS = (sys.executable, "-m", "jobkit", "hosts")


@pytest.fixture(scope="module")
def recorded(_guests_can_be_had: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What two guests with a cable between their devices say of themselves."""
    folder = tmp_path_factory.mktemp("rdma")
    # A guest sees the environment that runs the tests, and the tree that it imports.
    environ = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    words = (*HOSTS, "discover", "--over", "rdma", "--record", "/tmp/kept", "--verbose")
    with guests.two(folder) as both:
        running = [guest.start(*words, environ=environ) for guest in both]
        for guest, number in zip(both, running, strict=True):
            done = guest.wait(number)
            assert done.returncode == 1, done.stderr  # one host alone
            assert "one host alone has no cables to others" in done.stderr
            own = folder / "kept" / guest.name
            own.mkdir(parents=True)
            for name in guest.run("ls", "/tmp/kept/127.0.0.1").stdout.split():
                (own / name).write_text(guest.run("cat", f"/tmp/kept/127.0.0.1/{name}").stdout)
    yield folder / "kept"


def discover(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*HOSTS, "discover", "--over", "rdma", "--from", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_devices_on_one_cable_make_a_mesh(recorded: Path) -> None:
    done = discover(recorded, "--verbose")

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["backend"] == "jaccl"
    assert [host["rdma"] for host in found["hosts"]] == [[None, "rxe0"], ["rxe0", None]]
    assert "left: rxe0: eth0, port 1 ACTIVE Ethernet " in done.stderr
    assert "1: 0000:0000:0000:0000:0000:ffff:0a01:0001 RoCE v2" in done.stderr
    assert "cable: left -- right: eth0/eth0 " in done.stderr


def test_every_command_was_understood(recorded: Path) -> None:
    names = {path.name for path in (recorded / "left").iterdir()}
    assert {"uname.txt", "infiniband.txt", "rdma_link.json", "ip_address.json", "ip_route.json"} <= names
    assert json.loads((recorded / "left" / "rdma_link.json").read_text())[0]["netdev"] == "eth0"
    assert len((recorded / "left" / "infiniband.txt").read_text().splitlines()) < 20


def test_the_graph_of_devices(recorded: Path) -> None:
    drawn = discover(recorded, "--dot").stdout
    assert drawn.count(" -- ") == 1 and 'label="eth0/eth0"' in drawn
