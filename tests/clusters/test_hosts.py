"""Hosts of one's own are apart from each other and from this machine, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters.hosts import Hosts

DEADLINE_S = 60
REPOSITORY = Path(__file__).resolve().parent.parent.parent

START_AND_WAIT = """
import pathlib, sys
from clusters.hosts import Hosts
hosts = Hosts(("a", "b"), pathlib.Path(sys.argv[1]))
hosts.start("b", "sleep", "600", log=pathlib.Path(sys.argv[1], "log"))
print(hosts.process_id("b"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def pair(_hosts_can_be_had: None, tmp_path: Path) -> Iterator[Hosts]:
    """Two hosts."""
    hosts = Hosts(("a", "b"), tmp_path)
    yield hosts
    hosts.end()


def spaces(process_id: int) -> set[str]:
    """Return the namespaces of a process that are not this process's."""
    names = ("net", "pid", "mnt", "uts", "ipc")
    own, its = (
        {str(Path(f"/proc/{process}/ns/{name}").readlink()) for name in names}
        for process in ("self", process_id)
    )
    return its - own


def inhabitants(wanted: set[str]) -> list[str]:
    """Return the processes that are in one of these namespaces."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/ns/*"):
        try:
            found += [str(entry)] if str(entry.readlink()) in wanted else []
        except OSError:
            continue
    return found


def test_a_host_has_a_name_processes_and_memory_of_its_own(pair: Hosts) -> None:
    assert pair.run("a", "hostname").stdout == "a\n"
    assert pair.run("b", "sh", "-c", "echo $$").stdout != f"{os.getpid()}\n"
    pair.run("a", "touch", "/dev/shm/mine")
    assert pair.run("a", "ls", "/dev/shm").stdout == "mine\n"
    assert pair.run("b", "ls", "/dev/shm").stdout == ""
    assert not Path("/dev/shm/mine").exists()


def test_hosts_reach_each_other_by_name_and_nothing_else(pair: Hosts) -> None:
    listen = "import socket; s = socket.create_server(('b', 4000)); print(s.accept()[1][0])"
    server = subprocess.Popen(
        pair.command("b", sys.executable, "-c", listen), stdout=subprocess.PIPE, text=True
    )
    connect = f"""
import socket, time
until = time.monotonic() + {DEADLINE_S}
while True:
    try:
        socket.create_connection(("b", 4000)).close()
        break
    except OSError:
        assert time.monotonic() < until
        time.sleep(0.05)
"""
    pair.run("a", sys.executable, "-c", connect)
    assert server.communicate(timeout=DEADLINE_S)[0] == f"{pair.addresses['a']}\n"
    assert pair.run("a", "ip", "route", "show", "default").stdout == ""


def test_an_orphan_that_ends_is_gone(pair: Hosts) -> None:
    until_it_started = "while [ ! -s /dev/shm/orphan ]; do sleep 0.05; done"
    pair.run("a", "sh", "-c", f"setsid sh -c 'echo $$ >/dev/shm/orphan' & {until_it_started}")
    until = time.monotonic() + DEADLINE_S
    while pair.run("a", "sh", "-c", "kill -0 $(cat /dev/shm/orphan)", check=False).returncode == 0:
        assert time.monotonic() < until, "its end is not noticed"
        time.sleep(0.05)


def test_nothing_is_left_of_hosts_that_end(_hosts_can_be_had: None, tmp_path: Path) -> None:
    hosts = Hosts(("a", "b"), tmp_path)
    hosts.start("a", "setsid", "sleep", "600", log=tmp_path / "log")
    of_both = spaces(hosts.process_id("a")) | spaces(hosts.process_id("b"))
    assert inhabitants(of_both)
    hosts.end()
    assert not inhabitants(of_both)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_hosts_end_with_the_process_that_started_them(_hosts_can_be_had: None, tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "tests")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        assert owner.stdout is not None
        of_b = spaces(int(owner.stdout.readline()))
        assert inhabitants(of_b)
        owner.send_signal(signal.SIGKILL)
    until = time.monotonic() + DEADLINE_S
    while inhabitants(of_b):
        assert time.monotonic() < until, "a host outlives its owner"
        time.sleep(0.05)
