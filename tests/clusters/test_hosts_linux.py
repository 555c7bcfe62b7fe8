"""`jobkit hosts` over SSH on Linux hosts with networks of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import sshd
from clusters.hosts import Hosts

LAPTOP, NAMES = "laptop", ("one", "two", "three")


class Site:
    """A laptop, and hosts with an Ethernet and, between `one` and `two`, a cable.

    Attributes:
        hosts: All of them.
        servers: The sshd of each but the laptop.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.hosts = Hosts((LAPTOP, *NAMES), folder, "10.83.0")
        try:
            self.servers = {name: self._server(name) for name in NAMES}
            self._cable("one", "two")
            self._settings()
        except BaseException:
            self.hosts.end()
            raise

    def _server(self, name: str) -> sshd.Sshd:
        (self.folder / name).mkdir()
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        return sshd.Sshd(self.hosts, name, self.folder / name, PATH=path)

    def _cable(self, one: str, other: str) -> None:
        near, far = (str(self.hosts.process_id(name)) for name in (one, other))
        peer = ("type", "veth", "peer", "name", "fast0", "netns", far)
        subprocess.run(["ip", "link", "add", "fast0", "netns", near, *peer], check=True)
        for number, name in enumerate((one, other), start=1):
            self.hosts.run(name, "ip", "address", "add", f"10.84.0.{number}/30", "dev", "fast0")
            self.hosts.run(name, "ip", "link", "set", "fast0", "up")

    def _settings(self) -> None:
        (self.home / ".ssh").mkdir(parents=True)
        hosts = [
            f"Host {name}\n  Port {sshd.PORT}\n  User user-bash\n  IdentityFile {server.folder}/key\n"
            for name, server in self.servers.items()
        ]
        known = "".join(server.known_hosts.read_text() for server in self.servers.values())
        (self.home / "known_hosts").write_text(known)
        rest = f"Host *\n  UserKnownHostsFile {self.home}/known_hosts\n  IdentitiesOnly yes\n"
        (self.home / ".ssh" / "config").write_text("".join((*hosts, rest)))

    def run(self, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run `jobkit hosts` on the laptop."""
        environ = self.servers["one"].environ(HOME=str(self.home))
        command = (LAPTOP, "jobkit", "hosts", *words)
        return self.hosts.run(*command, cwd=str(cwd), environ=environ, check=False)

    def left(self) -> str:
        """Return what is left on the hosts of what was asked there."""
        command = ("pgrep", "-fa", "import sys;exec|^/bin/sh$")
        return "".join(self.hosts.run(name, *command, check=False).stdout for name in NAMES)


@pytest.fixture(scope="module")
def _site(_hosts_can_be_had: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if reason := sshd.why_not():
        pytest.skip(reason)
    found = Site(tmp_path_factory.mktemp("linux"))
    yield found
    found.hosts.end()


@pytest.fixture
def site(_site: Site, wait: object) -> Iterator[Site]:
    """The hosts, on which a test may leave nothing."""
    yield _site
    assert callable(wait) and wait(lambda: not _site.left()), _site.left()


def test_addresses_in_a_network_that_all_have(site: Site, tmp_path: Path) -> None:
    done = site.run("discover", "--hosts", ",".join(NAMES), "--over", "ethernet", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert [host["ips"] for host in json.loads(done.stdout)["hosts"]] == [
        ["10.83.0.2"],
        ["10.83.0.3"],
        ["10.83.0.4"],
    ]


def test_without_rdma_devices_the_remedy(site: Site, tmp_path: Path) -> None:
    done = site.run("discover", "--hosts", "one,two", "--over", "rdma", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert (
        "jaccl: no RDMA device on one, two: load the adapter's driver, or make one: sudo rdma " in done.stderr
    )
    tb = site.run("discover", "--hosts", "one,two", cwd=tmp_path)
    assert tb.returncode == 1
    assert "one: Thunderbolt is for Macs, got 'Linux'\n\nhint: --over ethernet, or --over rdma\n" in tb.stderr


def test_hosts_that_can_run_together(site: Site, tmp_path: Path) -> None:
    done = site.run("check", "--hosts", ",".join(NAMES), "--json", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["findings"] == []
    for near, row in found["round_trip_us"].items():
        assert set(row) == {*NAMES} - {near}
        assert all(cell > 0 for cells in row.values() for cell in cells.values())


def test_what_would_fail(site: Site, tmp_path: Path) -> None:
    hostfile = [
        {"ssh": "one", "ips": ["10.84.0.1"]},
        {"ssh": "two", "ips": ["10.84.0.2"]},
        {"ssh": "three", "ips": ["10.83.0.9"]},
    ]
    (tmp_path / "h.json").write_text(json.dumps({"backend": "ring", "envs": [], "hosts": hostfile}))
    site.hosts.run("three", "ip", "route", "add", "unreachable", "10.84.0.0/30")
    try:
        done = site.run("check", "--hostfile", "h.json", cwd=tmp_path)
    finally:
        site.hosts.run("three", "ip", "route", "del", "unreachable", "10.84.0.0/30")

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "jobkit: error: three: 10.83.0.9 is not one of its own (Cannot assign requested address)",
        "jobkit: error: three does not reach one at 10.84.0.1: No route to host",
    ]
    rows = {line.split()[0]: line.split() for line in done.stdout.split("\n\n")[1].splitlines()[1:]}
    assert rows["one"][-1] in ("us", "ms") and rows["three"][1:] == ["no", "no"]


def test_another_jobkit_and_a_host_that_is_gone(site: Site, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    base = getattr(sys, "_base_executable", sys.executable)
    bare.write_text(f'#!/bin/sh\nexec {base} -I -S "$@"\n')
    bare.chmod(0o755)
    (tmp_path / "h.json").write_text(json.dumps([{"ssh": "one"}, {"ssh": "gone.invalid"}]))

    done = site.run("check", "--hostfile", "h.json", "--agent-python", str(bare), cwd=tmp_path)

    assert done.returncode == 1
    assert "one: " in done.stderr and " has no jobkit: " in done.stderr
    assert "gone.invalid: no such host" in done.stderr


@pytest.mark.parametrize("shell", [name for name in sshd.SHELLS if name != "bash"])
def test_any_login_shell_will_do(site: Site, tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is missing")
    done = site.run("check", "--hosts", f"user-{shell}@one,user-{shell}@two", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
