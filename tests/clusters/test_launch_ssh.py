"""`jobkit launch --hosts` through the sshd of hosts with networks of their own."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from clusters.site import LAPTOP, ONE, SLEEP, TWO, Launch, Site

RANKS = ("--hosts", f"{ONE},{TWO}", "-n", "2")
SUM = """
import os, sys
if sys.argv[1] == "mlx":
    import mlx.core as mx
    group = mx.distributed.init(strict=True, backend="ring")
    total = int(mx.distributed.all_sum(mx.array(group.rank() + 1)).item())
else:
    import numpy as np
    import jobkit.native as dist
    group = dist.init(strict=True)
    total = int(dist.all_sum(np.array([group.rank() + 1]))[0])
print(group.rank(), group.size(), os.uname().nodename, total)
"""


@pytest.mark.parametrize("library", ["mlx", "native"])
def test_ranks_of_two_hosts_meet(launch: Launch, tmp_path: Path, library: str) -> None:
    (tmp_path / "sum.py").write_text(SUM)
    done = launch(*RANKS, "--backend", "ring", "sum.py", library)
    hosts = (ONE, ONE, TWO, TWO)
    assert sorted(done.stdout.splitlines()) == [f"{r} 4 {host} 10" for r, host in enumerate(hosts)], (
        done.stderr
    )
    assert done.returncode == 0


@pytest.mark.parametrize("is_mapping", [False, True])
def test_a_hostfile_of_either_shape_and_this_machine_among_the_hosts(
    launch: Launch, site: Site, tmp_path: Path, is_mapping: bool
) -> None:
    (tmp_path / "sum.py").write_text(SUM)
    rows = [
        {"ssh": "127.0.0.1", "ips": [site.hosts.addresses[LAPTOP]]},
        {"ssh": TWO, "ips": [site.hosts.addresses[TWO]]},
    ]
    content: Any = {"backend": "ring", "envs": ["WORD=a b"], "hosts": rows} if is_mapping else rows
    (tmp_path / "hosts.json").write_text(json.dumps(content))
    done = launch("--hostfile", "hosts.json", "sum.py", "native")
    assert sorted(done.stdout.splitlines()) == [f"0 2 {LAPTOP} 3", f"1 2 {TWO} 3"], done.stderr


def test_the_first_failure_ends_the_other_host_and_is_the_status(launch: Launch) -> None:
    done = launch(*RANKS, "--backend", "none", "--", "sh", "-c", f"test $JOBKIT_RANK = 3 && exit 7; {SLEEP}")
    assert done.returncode == 7
    assert (
        done.stderr
        == f"jobkit: error: rank 3 of 4 on {TWO} exited with status 7; the other ranks were ended\n"
    )


def test_input_reaches_all_ranks_or_one(launch: Launch) -> None:
    text = "0123456789abcde\n" * 100_000  # more than is under way at once
    every = launch(*RANKS, "--backend", "none", "cat", stdin=text)
    assert every.stdout.count("0123456789abcde\n") == 400_000, every.stderr
    one = launch(*RANKS, "--backend", "none", "--label", "--stdin", "3", "cat", stdin="hello\n")
    assert one.stdout == "[3] hello\n", one.stderr


def test_words_variables_and_folders_arrive_as_they_are(launch: Launch, tmp_path: Path) -> None:
    word = "a 'b' \"c\" $HOME; id\\ !x\n*"
    program = (
        "import os, sys; print([sys.argv[1:], os.environ['V'], os.getcwd(), os.environ.get('OF_LAPTOP')])"
    )
    command = (sys.executable, "-c", program, word)
    folder = tmp_path / "a 'folder'"
    folder.mkdir()
    shown = repr([[word], word, str(folder), None])
    done = launch("--hosts", f"{ONE},{TWO}", "--env", f"V={word}", *command, cwd=folder)
    assert done.stdout == f"{shown}\n" * 2, done.stderr
    gone = launch("--hosts", f"{ONE},{TWO}", "--cwd", "/no/such", "true")
    assert gone.returncode == 125
    for host in (ONE, TWO):
        assert f"{host}: /no/such: is no folder to work in" in gone.stderr


def started(process: subprocess.Popen[str], n: int) -> None:
    """Wait until so many ranks have said that they run."""
    assert process.stdout is not None
    for _ in range(n):
        assert process.stdout.readline() == "here\n", process.communicate()


HERE = ("--backend", "none", "--", "sh", "-c", f"echo here; {SLEEP}")


def test_a_connection_that_breaks_ends_the_ranks_there_and_the_job(site: Site, tmp_path: Path) -> None:
    with site.launch(*RANKS, *HERE, cwd=tmp_path) as process:
        started(process, 4)
        site.servers[TWO].cut()
        _, error = process.communicate()
    assert process.returncode == 125
    assert f"{TWO}: the connection to its agent is lost" in error


def test_a_link_that_goes_silent_is_noticed_on_both_sides(site: Site, tmp_path: Path, wait: Any) -> None:
    link = ("ip", "link", "set", "eth0")
    with site.launch(*RANKS, *HERE, cwd=tmp_path) as process:
        started(process, 4)
        site.hosts.run(TWO, *link, "down")
        try:
            _, error = process.communicate()
            assert wait(lambda: not site.left())
        finally:
            site.hosts.run(TWO, *link, "up")
    assert process.returncode == 125
    assert f"{TWO}: the connection to its agent is lost" in error


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_ends_the_ranks_gracefully_two_at_once(site: Site, tmp_path: Path, times: int) -> None:
    stubborn = "trap 'echo interrupted' INT; echo here; while :; do sleep 0.1; done"
    polite = "trap 'echo interrupted; exit 0' INT; echo here; while :; do sleep 0.1; done"
    script = polite if times == 1 else stubborn
    with site.launch(*RANKS, "--backend", "none", "--", "sh", "-c", script, cwd=tmp_path) as process:
        started(process, 4)
        launcher = site.hosts.run(LAPTOP, "pgrep", "-f", "jobkit launch").stdout.split()[0]
        site.hosts.run(LAPTOP, "kill", "-INT", launcher)
        assert process.stdout is not None
        assert process.stdout.readline() == "interrupted\n"
        if times == 2:
            site.hosts.run(LAPTOP, "kill", "-INT", launcher)
        process.communicate()
    assert process.returncode == 128 + signal.SIGINT


def test_a_launcher_that_is_killed_takes_the_ranks_along(site: Site, tmp_path: Path) -> None:
    with site.launch(*RANKS, *HERE, cwd=tmp_path) as process:
        started(process, 4)
        assert len(site.left()) > 4  # what every test looks for at its end can be seen
        launcher = site.hosts.run(LAPTOP, "pgrep", "-f", "jobkit launch").stdout.split()[0]
        site.hosts.run(LAPTOP, "kill", "-KILL", launcher)
        process.communicate()


def test_a_host_that_nobody_vouches_for_gets_nothing_and_no_other_starts(
    launch: Launch, site: Site, tmp_path: Path
) -> None:
    site.trust(ONE)
    mark = tmp_path / "ran"
    done = launch("--hosts", f"{ONE},{TWO},nowhere.invalid", "--backend", "none", "touch", str(mark))
    assert done.returncode == 125
    assert f"{TWO}: its host key" in done.stderr
    assert "nowhere.invalid: no such host" in done.stderr
    assert done.stderr.count("error:") == 2
    assert not mark.exists()


def test_a_host_without_jobkit_is_told_with_the_remedy(launch: Launch, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(
        f'#!/bin/sh\nexec {shlex.quote(getattr(sys, "_base_executable", sys.executable))} -I -S "$@"\n'
    )
    bare.chmod(0o755)
    done = launch(*RANKS, "--agent-python", str(bare), "true")
    assert done.returncode == 125
    assert "has no jobkit" in done.stderr
    assert "-m pip install jobkit==" in done.stderr
    none = launch(*RANKS, "--agent-python", "/no/such/python", "true")
    assert none.returncode == 125
    assert f"{ONE}: has no Python: " in none.stderr
