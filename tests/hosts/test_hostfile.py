"""Hostfiles, read back by what reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.cli.launching import read_hostfile
from jobkit.env import rdma
from jobkit.hosts import addresses, choice, hostfile
from jobkit.hosts.model import Topology
from jobkit.native import hostfile as native_hostfile

# "Defining a Mesh", https://ml-explore.github.io/mlx/build/html/usage/distributed.html
MESH4 = [
    [None, "rdma_en5", "rdma_en4", "rdma_en3"],
    ["rdma_en5", None, "rdma_en3", "rdma_en4"],
    ["rdma_en4", "rdma_en3", None, "rdma_en5"],
    ["rdma_en3", "rdma_en4", "rdma_en5", None],
]

# It runs on this machine what it is asked to run on another.
SSH = '#!/bin/bash\nexec /bin/bash -c "${!#}"\n'


def text(topology: Topology, backend: str) -> str:
    chosen = choice.choose(topology, backend, lambda: True)
    assert chosen.backend == backend, chosen.problems
    cables = chosen.topology.cables
    rows = hostfile.rows(chosen, dict(zip(cables, addresses.plan(chosen.topology), strict=True)))
    return hostfile.to_json(rows, backend, ("A=1",))


@pytest.fixture
def written(layout: Callable[..., Topology], tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, backend: str) -> Path:
        path = tmp_path / f"{name}.json"
        path.write_text(text(layout(name), backend))
        return path

    return write


def hosts(content: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(content)["hosts"]
    return found


def test_mesh4_is_the_documents_matrix(layout: Callable[..., Topology]) -> None:
    content = text(layout("mesh4"), "jaccl")

    assert [host["rdma"] for host in hosts(content)] == MESH4
    assert [host["ssh"] for host in hosts(content)] == [f"m3-ultra-{n}" for n in (1, 2, 3, 4)]
    assert hosts(content)[0]["ips"] == ["123.123.123.1"]
    assert {**json.loads(content), "hosts": None} == {"backend": "jaccl", "envs": ["A=1"], "hosts": None}


def test_jaccl_ring_names_the_neighbours_alone(layout: Callable[..., Topology]) -> None:
    assert [host["rdma"] for host in hosts(text(layout("ring4"), "jaccl-ring"))] == [
        [None, "rdma_en2", None, "rdma_en3"],
        ["rdma_en3", None, "rdma_en2", None],
        [None, "rdma_en3", None, "rdma_en2"],
        ["rdma_en2", None, "rdma_en3", None],
    ]


def test_parallel_cables_are_in_the_same_order_at_both_ends(layout: Callable[..., Topology]) -> None:
    both = ["rdma_en2", "rdma_en3"]

    assert [host["rdma"] for host in hosts(text(layout("pair2-double"), "jaccl"))] == [
        [None, both],
        [both, None],
    ]


def test_a_ring_listens_on_every_cable_to_the_host_before(layout: Callable[..., Topology]) -> None:
    topology = layout("ring4")
    planned = dict(zip(topology.cables, addresses.plan(topology), strict=True))

    found = hosts(text(topology, "ring"))

    for rank, host in enumerate(found):
        (cable,) = topology.between(rank, (rank - 1) % 4)
        assert host["ips"] == [planned[cable][cable.ends.index(cable.end(rank))]]
    assert [len(host["ips"]) for host in hosts(text(layout("pair2-double"), "ring"))] == [2, 2]


@pytest.mark.parametrize("backend", ["ring", "jaccl", "jaccl-ring"])
def test_no_pair_has_more_than_all_have(wired: Callable[..., Topology], backend: str) -> None:
    found = hosts(text(wired(3, [(0, 1), (0, 1), (1, 2), (0, 2)]), backend))

    assert all(len(host["ips"]) == 1 for host in found)
    assert all(isinstance(device, str | None) for host in found for device in host["rdma"])


@pytest.mark.parametrize("name", ["ring4", "pair2-double", "mesh4"])
def test_the_addresses_make_a_table_that_the_ring_reads(layout: Callable[..., Topology], name: str) -> None:
    found = hosts(text(layout(name), "ring"))
    table = [[f"{ip}:5000" for ip in host["ips"]] for host in found]

    assert native_hostfile.parse(json.dumps(table), where="ring") == table


def test_jobkit_launch_and_the_shim_read_them(written: Callable[..., Path]) -> None:
    path = written("mesh4", "jaccl")

    listed = read_hostfile(str(path))

    assert (listed.names[0], listed.backend, listed.envs) == ("m3-ultra-1", "jaccl", ("A=1",))
    assert [list(host.devices) for host in rdma.read(str(path))] == MESH4


@pytest.mark.parametrize(
    ("name", "backend"), [("mesh4", "jaccl"), ("ring4", "jaccl-ring"), ("ring4", "ring")]
)
def test_mlx_launch_reads_them(written: Callable[..., Path], tmp_path: Path, name: str, backend: str) -> None:
    pytest.importorskip("mlx.core", reason="mlx is not installed")
    path = written(name, backend)
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)
    variable = "MLX_HOSTFILE" if backend == "ring" else "MLX_IBV_DEVICES"
    show = f'[ "$MLX_RANK" = 3 ] && echo "got $A $MLX_JACCL_COORDINATOR $(cat ${variable})"; exit 0'

    flags = ("--hostfile", str(path), "--", "/bin/sh", "-c", show)
    done = subprocess.run(
        [sys.executable, "-c", "from mlx._distributed_utils.launch import main; main()", *flags],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )

    got = [line.split(" ", 3) for line in done.stdout.splitlines() if line.startswith("got ")]
    assert len(got) == 1, (done.stdout, done.stderr)
    assert got[0][1:3] == ["1", "" if backend == "ring" else "123.123.123.1:32323"]
    rows = hosts(path.read_text())
    if backend == "ring":
        ports = [[address.rpartition(":")[0] for address in row] for row in json.loads(got[0][3])]
        assert ports == [row["ips"] for row in rows]
        assert native_hostfile.parse(got[0][3], where="MLX_HOSTFILE")
    else:
        assert json.loads(got[0][3]) == [row["rdma"] for row in rows]
