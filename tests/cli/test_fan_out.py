"""One process per node becomes several ranks; the launchers' variables are made up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.cli.fan_out import request
from jobkit.env.detect import detect
from jobkit.env.placement import Facts
from jobkit.errors import LaunchError

ALLSUM = """
import numpy, os, jobkit.native as dist
group = dist.init(strict=True)
total = dist.all_sum(numpy.ones(3) * group.rank())
print(os.environ["JOBKIT_NODE"], group.rank(), group.size(), total[0], flush=True)
"""


def skypilot(node: int, *addresses: str) -> dict[str, str]:
    return {
        "SKYPILOT_NODE_RANK": str(node),
        "SKYPILOT_NUM_NODES": str(len(addresses)),
        "SKYPILOT_NODE_IPS": "\n".join(addresses),
        "SKYPILOT_TASK_ID": f"sky-test-{os.getpid()}",
    }


def dstack(node: int, *addresses: str) -> dict[str, str]:
    return {
        "DSTACK_NODE_RANK": str(node),
        "DSTACK_NODES_NUM": str(len(addresses)),
        "DSTACK_NODES_IPS": "\n".join(addresses),
        "DSTACK_MASTER_NODE_IP": addresses[0],
        "DSTACK_JOB_ID": f"dstack-test-{os.getpid()}",
        "DSTACK_RUN_ID": f"dstack-test-{os.getpid()}",
    }


def exec_(environ: dict[str, str], *words: str, module: str = "jobkit", **how: Any) -> subprocess.Popen[str]:
    verb = ["exec"] if module == "jobkit" else []
    pipes: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    command = [sys.executable, "-m", module, *verb, "--ranks-per-node", "2", *words]
    return subprocess.Popen(command, env={**os.environ, **environ}, text=True, **{**pipes, **how})


def records(home: Path) -> dict[int, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in home.glob("jobs/*/attempt-1/rank-*.exit.json")]
    return {known["rank"]: known for known in found}


@pytest.mark.parametrize("launcher", [skypilot, dstack])
@pytest.mark.parametrize("module", ["jobkit", "jobkit.env"])
def test_the_ranks_of_one_node_meet(
    launcher: Callable[..., dict[str, str]], module: str, jobkit_home: Path
) -> None:
    environ = launcher(0, "127.0.0.1")
    out, error = exec_(environ, "--", sys.executable, "-c", ALLSUM, module=module).communicate()
    assert sorted(out.splitlines()) == ["0 0 2 1.0", "0 1 2 1.0"], error
    assert [known["status"] for known in records(jobkit_home).values()] == [0, 0]


def test_by_hand_it_is_a_job_of_one_node(tmp_path: Path) -> None:
    words = ("--chdir", str(tmp_path), "--backend", "none", "sh", "-c", "echo $JOBKIT_SIZE $PWD")
    out, _ = exec_({}, *words).communicate()
    assert out.splitlines() == [f"2 {tmp_path}"] * 2


def test_ranks_are_counted_through_the_nodes_and_meet_over_tcp(tmp_path: Path) -> None:
    nodes = []
    for node in (1, 0):
        # Each node has its own home but for the token, as hosts without a shared file system do.
        home = tmp_path / str(node)
        home.mkdir()
        (home / "token").write_text("ab" * 32)
        (home / "token").chmod(0o600)
        environ = {**skypilot(node, "127.0.0.1", "127.0.0.1"), "JOBKIT_HOME": str(home)}
        nodes.append(exec_(environ, "--backend", "ring", "--", sys.executable, "-c", ALLSUM))
    said = [node.communicate() for node in nodes]
    assert [sorted(out.splitlines()) for out, _ in said] == [
        ["1 2 4 6.0", "1 3 4 6.0"],
        ["0 0 4 6.0", "0 1 4 6.0"],
    ], said
    assert [sorted(records(tmp_path / str(node))) for node in (0, 1)] == [[0, 1], [2, 3]]


def test_the_first_failure_is_the_exit_status_and_in_the_record(jobkit_home: Path) -> None:
    script = "[ $JOBKIT_RANK = 1 ] && exit 7; exec sleep 600"
    process = exec_(skypilot(0, "127.0.0.1"), "--backend", "none", "--", "sh", "-c", script)
    _, error = process.communicate()
    assert process.returncode == 7
    assert "rank 1 of 2" in error
    assert {rank: known["status"] for rank, known in records(jobkit_home).items()} == {0: 143, 1: 7}


def test_a_signal_ends_every_rank(alive: Callable[[int], bool]) -> None:
    script = "echo $$; exec sleep 600"
    process = exec_(skypilot(0, "127.0.0.1"), "--backend", "none", "--", "sh", "-c", script)
    assert process.stdout is not None
    pids = [int(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    assert not any(alive(pid) for pid in pids)


def test_a_home_that_cannot_be_written_is_told_and_no_failure(tmp_path: Path) -> None:
    environ = {**skypilot(0, "127.0.0.1"), "JOBKIT_HOME": "/proc/none", "TMPDIR": str(tmp_path)}
    process = exec_(environ, "--backend", "none", "--", "true")
    _, error = process.communicate()
    assert process.returncode == 0, error
    assert "no records of the ranks are kept" in error


@pytest.mark.parametrize("count", ["0", "x", "-1", "", "1.5"])
def test_a_count_that_is_none_is_refused(count: str) -> None:
    command = [sys.executable, "-m", "jobkit", "exec", f"--ranks-per-node={count or 'no'}", "--", "true"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("jobkit: error: --ranks-per-node: not a count")


def test_a_launcher_that_starts_every_rank_needs_none() -> None:
    environ = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}
    environ |= {"OMPI_COMM_WORLD_LOCAL_RANK": "0", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
    with pytest.raises(LaunchError, match="openmpi does not start one process per node") as caught:
        request(environ, detect(environ, Facts(host="n")), ("any",), 2, ("true",), "/")
    assert "leave --ranks-per-node out" in str(caught.value)


def test_nodes_that_cannot_find_each_other_are_told_what_to_set() -> None:
    environ = skypilot(1, "10.0.0.1", "10.0.0.2")
    del environ["SKYPILOT_TASK_ID"]
    with pytest.raises(LaunchError, match="JOBKIT_JOB"):
        request(environ, detect(environ, Facts(host="n")), ("any",), 2, ("true",), "/")


def test_what_the_agent_is_asked_is_this_nodes_part() -> None:
    environ = {**skypilot(1, "10.0.0.1", "10.0.0.2"), "JOBKIT_PORTS": "20000-20099"}
    asked = request(environ, detect(environ, Facts(host="n")), ("ring",), 3, ("true",), "/w")
    assert (asked.first_rank, asked.local_size, asked.size, asked.node, asked.nodes) == (3, 3, 6, 1, 2)
    assert (asked.ports, asked.workdir, asked.overlay["JOBKIT_COORDINATOR"]) == (
        (20000, 20099),
        "/w",
        "10.0.0.1",
    )
