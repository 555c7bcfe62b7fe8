"""`jobkit hosts` over SSH on hosts that answer like Macs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import sshd
from clusters.macs import Macs

DOCUMENT = [
    [None, "rdma_en5", "rdma_en4", "rdma_en3"],
    ["rdma_en5", None, "rdma_en3", "rdma_en4"],
    ["rdma_en4", "rdma_en3", None, "rdma_en5"],
    ["rdma_en3", "rdma_en4", "rdma_en5", None],
]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def _macs(layout: str, factory: pytest.TempPathFactory) -> Iterator[Macs]:
    if reason := sshd.why_not():
        pytest.skip(reason)
    found = Macs(layout, factory.mktemp(layout))
    yield found
    found.hosts.end()


@pytest.fixture(scope="module")
def _mesh4(_hosts_can_be_had: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Macs]:
    yield from _macs("mesh4", tmp_path_factory)


@pytest.fixture(scope="module")
def _ring4(_hosts_can_be_had: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Macs]:
    yield from _macs("ring4", tmp_path_factory)


@pytest.fixture
def mesh4(_mesh4: Macs) -> Iterator[Macs]:
    """Macs of the document's mesh, as they were recorded."""
    yield _mesh4
    _mesh4.reset()


@pytest.fixture
def ring4(_ring4: Macs) -> Iterator[Macs]:
    """Macs of the document's ring, as they were recorded."""
    yield _ring4
    _ring4.reset()


def discover(macs: Macs, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return macs.run("jobkit", "hosts", "discover", "--hosts", ",".join(macs.names), *words, cwd=cwd)


def test_the_documents_mesh_is_set_up_and_a_second_time_changes_nothing(mesh4: Macs, tmp_path: Path) -> None:
    words = ("--backend", "jaccl", "--auto-setup", "--output", "hosts.json")
    done = discover(mesh4, tmp_path, *words)

    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    written = json.loads((tmp_path / "hosts.json").read_text())
    assert [host["rdma"] for host in written["hosts"]] == DOCUMENT
    assert written["hosts"][0]["ips"] == ["123.123.123.1"]
    for name in mesh4.names:
        assert mesh4.log(name)[0] == "ifconfig bridge0 down"
        assert f"{name}: 4 changes\n" in done.stderr  # the routes come with the addresses
    there = f"exec 3<>/dev/tcp/192.168.128.2/{sshd.PORT}"
    assert mesh4.hosts.run(mesh4.names[0], "bash", "-c", there, check=False).returncode == 0
    logs, state = [mesh4.log(name) for name in mesh4.names], mesh4.state()

    again = discover(mesh4, tmp_path, *words)

    assert again.returncode == 0, again.stderr
    assert again.stderr.count(": nothing to change\n") == 4
    assert ([mesh4.log(name) for name in mesh4.names], mesh4.state()) == (logs, state)
    assert json.loads((tmp_path / "hosts.json").read_text()) == written


def test_addresses_keep_clear_of_what_a_host_has(mesh4: Macs, tmp_path: Path) -> None:
    one = mesh4.names[2]
    mesh4.hosts.run(one, "ip", "address", "add", "192.168.128.77/24", "dev", "eth0")
    try:
        done = discover(mesh4, tmp_path)
    finally:
        mesh4.hosts.run(one, "ip", "address", "del", "192.168.128.77/24", "dev", "eth0")
    assert done.returncode == 0, done.stderr
    assert "inet 192.168.129.1 netmask 255.255.255.252\n" in done.stderr
    assert "192.168.128." not in done.stderr
    assert not mesh4.log(one)


@pytest.mark.parametrize("kind", ["fail", "idle"])
def test_where_one_change_fails_all_are_taken_back(mesh4: Macs, tmp_path: Path, kind: str) -> None:
    before = mesh4.state()
    bad = mesh4.names[2]
    mesh4.break_at(bad, 3, kind)

    done = discover(mesh4, tmp_path, "--auto-setup", "--output", "hosts.json")

    assert done.returncode == 1
    why = "ifconfig: ioctl (SIOCAIFADDR): no luck today" if kind == "fail" else "it has had no effect"
    assert f"{bad}: `sudo ifconfig " in done.stderr and why in done.stderr
    assert "taken back what was changed on " in done.stderr
    assert mesh4.state() == before
    assert not (tmp_path / "hosts.json").exists()


def test_addresses_that_were_there_come_back(mesh4: Macs, tmp_path: Path) -> None:
    one, bad = mesh4.names[0], mesh4.names[2]
    mesh4.hosts.run(one, "ip", "address", "add", "169.254.7.7/16", "dev", "en5")
    before = mesh4.state()
    mesh4.break_at(bad, 4, "fail")

    done = discover(mesh4, tmp_path, "--auto-setup")

    assert done.returncode == 1
    assert mesh4.state() == before


def test_of_a_host_that_is_lost_in_the_middle_the_state_is_told(mesh4: Macs, tmp_path: Path) -> None:
    before = mesh4.state()
    lost = mesh4.names[1]
    mesh4.break_at(lost, 2, "cut")
    try:
        done = discover(mesh4, tmp_path, "--auto-setup", "--output", "hosts.json")
    finally:
        mesh4.servers[lost].start()

    assert done.returncode == 1
    assert f"error: {lost}: the connection broke" in done.stderr
    assert f"error: {lost}: its changes could not be taken back" in done.stderr
    assert "hint: run there: sudo ifconfig en" in done.stderr and "sudo ifconfig bridge0 up" in done.stderr
    after = mesh4.state()
    assert {name: after[name] for name in mesh4.names if name != lost} == {
        name: before[name] for name in mesh4.names if name != lost
    }
    assert not (tmp_path / "hosts.json").exists()


def test_without_sudo_nothing_is_changed_and_the_commands_are_printed(mesh4: Macs, tmp_path: Path) -> None:
    before = mesh4.state()
    one = mesh4.names[3]
    (mesh4.folder / one / "no-sudo").touch()

    done = discover(mesh4, tmp_path, "--auto-setup", "--output", "hosts.json")

    assert done.returncode == 1
    assert f"{one}: no sudo without a password (sudo: a password is required)" in done.stderr
    assert "no host was changed; these are the commands:\n# on m3-ultra-1 " in done.stderr
    assert mesh4.state() == before
    assert json.loads((tmp_path / "hosts.json").read_text())["backend"] == "jaccl"


def test_a_host_that_cannot_be_reached(mesh4: Macs, tmp_path: Path) -> None:
    lost = mesh4.names[0]
    mesh4.hosts.run(lost, "pkill", "-KILL", "sshd")
    try:
        done = discover(mesh4, tmp_path)
        without = discover(mesh4, tmp_path, "--ignore-unreachable", "--verbose")
    finally:
        mesh4.servers[lost].start()

    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: {lost}: cannot be reached" in done.stderr
    assert without.returncode == 0
    assert f"warning: {lost}: cannot be reached" in without.stderr
    assert f"a cable leads to a machine that is not among the hosts ({lost})" in without.stderr
    found = json.loads(without.stdout)
    assert [host["ssh"] for host in found["hosts"]] == list(mesh4.names[1:])


def test_what_cannot_be_read_is_told_for_every_host(mesh4: Macs, tmp_path: Path) -> None:
    one, two = (mesh4.recordings / name / "system_profiler.json" for name in mesh4.names[:2])
    texts = one.read_text(), two.read_text()
    try:
        one.write_text(texts[0][:1000])
        two.unlink()
        done = discover(mesh4, tmp_path)
        over = discover(mesh4, tmp_path, "--over", "ethernet")
    finally:
        one.write_text(texts[0])
        two.write_text(texts[1])
    assert (done.returncode, done.stdout) == (1, "")
    assert "m3-ultra-1/system_profiler.json: not JSON" in done.stderr
    assert "m3-ultra-2: `system_profiler SPThunderboltDataType -json` failed there: status 1" in done.stderr
    rows = [{"ssh": f"m3-ultra-{n}", "ips": [f"123.123.123.{n}"], "rdma": []} for n in (1, 2, 3, 4)]
    assert json.loads(over.stdout)["hosts"] == rows


def test_what_the_hosts_say_can_be_recorded(mesh4: Macs, tmp_path: Path) -> None:
    done = discover(mesh4, tmp_path, "--record", "kept", "--dot")

    assert (done.returncode, done.stderr) == (0, "")
    again = mesh4.run("jobkit", "hosts", "discover", "--from", "kept", "--dot", cwd=tmp_path)
    assert again.stdout == done.stdout
    for file in ("system_profiler.json", "networksetup.txt", "ibv_devices.txt"):
        kept = (tmp_path / "kept" / "m3-ultra-1" / file).read_text()
        assert kept == (mesh4.recordings / "m3-ultra-1" / file).read_text()
    assert "netstat.txt" in {path.name for path in (tmp_path / "kept" / "m3-ultra-1").iterdir()}


@pytest.mark.skipif(shutil.which("dot") is None, reason="dot is missing (Debian: graphviz)")
def test_graphviz_draws_the_graph(mesh4: Macs, tmp_path: Path) -> None:
    picture = discover(mesh4, tmp_path, "--dot").stdout
    drawn = subprocess.run(["dot", "-Tpng"], input=picture.encode(), capture_output=True, check=True)
    assert drawn.stdout.startswith(b"\x89PNG") and not drawn.stderr


@pytest.mark.parametrize("shell", [name for name in sshd.SHELLS if name != "bash"])
def test_any_login_shell_will_do(mesh4: Macs, tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is missing")
    names = ",".join(f"user-{shell}@{name}" for name in mesh4.names)
    done = mesh4.run("jobkit", "hosts", "discover", "--hosts", names, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [host["rdma"] for host in json.loads(done.stdout)["hosts"]] == DOCUMENT


SUM = """
import mlx.core as mx
group = mx.distributed.init(strict=True, backend="ring")
total = int(mx.distributed.all_sum(mx.array(group.rank() + 1)).item())
print(group.rank(), group.size(), total, flush=True)
"""


NATIVE_SUM = """
import numpy as np
import jobkit.native as dist
group = dist.init(strict=True, backend="jaccl")
total = int(dist.all_sum(np.array([group.rank() + 1]))[0])
kinds = sorted({link["kind"] for link in group.topology()["links"]})
print(group.rank(), group.size(), total, group.backend, *kinds, flush=True)
"""


def test_a_mesh_that_was_found_carries_sums_over_what_stands_for_its_devices(
    mesh4: Macs, tmp_path: Path, repository: Path
) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    library = tmp_path / "libibverbs.so.1"
    source = repository / "tests/native/src/standin/ibverbs.c"
    flags = ["-fPIC", "-shared", f"-I{repository}/jobkit/native/src", "-o", str(library)]
    subprocess.run([compiler, *flags, str(source)], check=True)
    assert discover(mesh4, tmp_path, "--backend", "jaccl", "--output", "mesh.json").returncode == 0
    (tmp_path / "sum.py").write_text(NATIVE_SUM)
    (tmp_path / "fabric").mkdir()
    rows = json.loads((tmp_path / "mesh.json").read_text())["hosts"]
    (tmp_path / "devices.json").write_text(json.dumps([row["rdma"] for row in rows]))
    environ = {
        "MLX_IBV_DEVICES": str(tmp_path / "devices.json"),
        "MLX_JACCL_COORDINATOR": "127.0.0.1:32323",
        "JOBKIT_JACCL_LIBRARY": str(library),
        "STANDIN_FABRIC": str(tmp_path / "fabric"),
        "STANDIN_DEVICES": ",".join(f"rdma_en{n}" for n in range(2, 8)),
    }

    # What stands for the devices connects processes of one host alone.
    ranks = 'for rank in 0 1 2 3; do MLX_RANK=$rank "$0" sum.py & done; wait'
    done = mesh4.run("sh", "-c", ranks, sys.executable, cwd=tmp_path, **environ)

    assert sums(done) == [f"{rank} 4 10 jaccl rc self" for rank in range(4)], done.stderr


def sums(done: Any) -> list[str]:
    return sorted(
        line.strip() for line in done.stdout.splitlines() if line[:1].isdigit() and line[1:2] == " "
    )


JOB = """
executor: ssh
run: [python, sum.py]
backend: ring
ssh: {hostfile: ring.json}
"""


def test_a_ring_that_was_set_up_carries_sums(ring4: Macs, tmp_path: Path) -> None:
    done = discover(ring4, tmp_path, "--backend", "ring", "--auto-setup", "--output", "ring.json")
    assert done.returncode == 0, done.stderr
    assert [host["ips"] for host in json.loads((tmp_path / "ring.json").read_text())["hosts"]] == [
        ["192.168.128.5"],
        ["192.168.128.2"],
        ["192.168.128.10"],
        ["192.168.128.14"],
    ]
    pytest.importorskip("mlx.core", reason="mlx is not installed")
    (tmp_path / "sum.py").write_text(SUM)
    expected = [f"{rank} 4 10" for rank in range(4)]

    ours = ring4.run("jobkit", "launch", "--hostfile", "ring.json", "sum.py", cwd=tmp_path)
    assert sums(ours) == expected, ours.stderr
    (tmp_path / "job.yaml").write_text(JOB)
    home = str(tmp_path / "home")
    job = ring4.run("jobkit", "submit", "job.yaml", "--wait", "--follow", cwd=tmp_path, JOBKIT_HOME=home)
    assert sums(job) == expected, job.stderr
    main = "from mlx._distributed_utils.launch import main; main()"
    flags = ("--hostfile", "ring.json", "--", sys.executable, "sum.py")
    theirs = ring4.run(sys.executable, "-c", main, *flags, cwd=tmp_path)
    assert sums(theirs) == expected, theirs.stderr
