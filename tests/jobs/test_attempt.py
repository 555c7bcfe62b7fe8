from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobkit.agent.request import Request
from jobkit.jobs import attempt
from jobkit.plan import Plan, plan
from jobkit.spec import parse


def planned(text: str) -> Plan:
    return plan(parse(f"run: program\n{text}", "a.yaml", os.environ), cwd="/project")


def requested(text: str, index: int = 0, **environ: str) -> Request:
    made = planned(text)
    return attempt.requested(made, made.tasks[index], "a", 2, Path("/runs/a"), environ, {"TOKEN": "s3cret"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (None, None)),
        ("time: 60s", (1060.0, None)),
        ("time: 60s\nsignal: {name: USR1, before: 10s}", (1060.0, 1050.0)),
    ],
)
def test_what_is_due_when(text: str, expected: tuple[float | None, float | None]) -> None:
    assert attempt.due(planned(text), 1000.0) == expected


def test_an_agent_is_asked_for_all_ranks_of_this_machine() -> None:
    request = requested("ranks: 3\nbackend: ring\nring: {connections_per_ip: 2}\n")
    assert (request.local_size, request.size, request.first_rank, request.nodes) == (3, 3, 0, 1)
    assert (request.job, request.attempt, request.run_dir) == ("a", 2, "/runs/a")
    assert (request.command, request.backend, request.connections_per_ip) == (("program",), ("ring",), 2)
    assert (request.workdir, request.output, request.stdin) == ("/project", "files", "none")


def test_what_the_spec_says_of_the_network_and_devices_is_handed_down() -> None:
    request = requested(
        "network: {subnet: 10.0.0.0/8, ports: 5000-5009}\ngpus_per_rank: 2\nshare_gpus: true\n"
        "jaccl: {hostfile: hosts.json}\n"
    )
    assert (request.subnet, request.ports) == ("10.0.0.0/8", (5000, 5009))
    assert (request.gpus_per_rank, request.share_gpus) == (2, True)
    assert request.jaccl_hostfile == "/project/hosts.json"


def test_a_point_has_its_own_name_and_folder() -> None:
    request = requested("sweep: {lr: [1, 2]}\nname: n-${{ sweep.lr }}\n", 1)
    assert (request.job, request.run_dir, request.name) == ("a/1", "/runs/a/1", "n-2")


def test_a_snapshot_is_the_workdir() -> None:
    assert requested("snapshot: true\n").workdir == "/runs/a/snapshot"


def test_secrets_and_forwarded_variables_are_laid_over_what_setup_left() -> None:
    request = requested("forward: [A]\nenv: {B: '2'}\ninherit: false\n", A="1", C="3", PATH="/bin")
    assert request.environ == {"PATH": "/bin"}
    assert request.overlay == {"A": "1", "B": "2", "TOKEN": "s3cret"}
    assert "s3cret" not in repr(request)
