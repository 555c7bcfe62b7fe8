from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.agent.ranks import base_environ, rank_environ, shim_command, too_many
from jobkit.agent.request import Request
from jobkit.env import names
from jobkit.env.settings import Settings, settings

Make = Callable[..., Request]


def test_the_interpreters_folder_comes_first_on_path(make_request: Make) -> None:
    request = make_request("true", python="/venv/bin/python", environ={"PATH": "/usr/bin"})
    assert base_environ(request, Path("/run"))["PATH"] == "/venv/bin:/usr/bin"


def test_it_is_not_put_there_twice(make_request: Make) -> None:
    request = make_request("true", python="/venv/bin/python", environ={"PATH": "/venv/bin:/usr/bin"})
    assert base_environ(request, Path("/run"))["PATH"] == "/venv/bin:/usr/bin"


def test_a_rank_is_told_its_place(make_request: Make) -> None:
    request = make_request("true", ranks=2, job="j1", first_rank=4, size=8, node=2, nodes=4, ports=(1, 2))
    environ = rank_environ(request, 5, {}, Path("/run"), 9)
    placed = (
        "RANK",
        "SIZE",
        "LOCAL_RANK",
        "LOCAL_SIZE",
        "NODE",
        "NODES",
        "JOB",
        "RUN_DIR",
        "PORTS",
        "AGENT_FD",
    )
    assert [environ[f"JOBKIT_{name}"] for name in placed] == [
        "5",
        "8",
        "1",
        "2",
        "2",
        "4",
        "j1",
        "/run",
        "1-2",
        "9",
    ]


def test_ranks_whose_hosts_share_no_folder_find_the_secret_in_their_own(make_request: Make) -> None:
    environ = rank_environ(make_request("true", token="5e5a3e"), 0, {}, Path("/run"), 9)
    assert environ[names.SHARED_DIR] == "/run"
    assert names.SHARED_DIR not in rank_environ(make_request("true"), 0, {}, Path("/run"), 9)


def test_a_rank_is_told_what_the_spec_says(make_request: Make) -> None:
    request = make_request(
        "true",
        connections_per_ip=2,
        subnet="10.0.0.0/8",
        nccl_port=7,
        spec_hash="h",
        gpus_per_rank=3,
        share_gpus=True,
        jaccl_hostfile="/h.json",
    )
    environ = rank_environ(request, 0, {}, Path("/run"), 9)
    assert environ["JOBKIT_SUBNET"] == "10.0.0.0/8"
    assert settings(environ) == Settings(None, 7, 2, 3, True, "h", "/h.json")
    unset = rank_environ(make_request("true"), 0, dict.fromkeys(names.HANDED_DOWN, "1"), Path("/run"), 9)
    assert settings(unset) == Settings(None, None, 1, 0, False, "")


def test_what_the_user_set_wins_over_help(make_request: Make) -> None:
    request = make_request("true", terminal=(100, 30))
    environ = rank_environ(
        request, 0, {"PYTHONUNBUFFERED": "", "COLUMNS": "20", "NO_COLOR": "1"}, Path("/"), 9
    )
    assert (environ["PYTHONUNBUFFERED"], environ["COLUMNS"], environ["LINES"]) == ("", "20", "30")
    assert "FORCE_COLOR" not in environ


def test_the_shim_is_the_same_command_as_everywhere(make_request: Make) -> None:
    request = make_request("a", "b", python="/p", backend=("ring", "nccl"), workdir="/w")
    words = ["/p", "-m", "jobkit.env", "--backend", "ring,nccl", "--chdir", "/w", "--", "a", "b"]
    assert shim_command(request) == words


@pytest.mark.parametrize(
    ("differs", "most"),
    [
        ({"stdin": "all", "output": "pipe"}, 201),
        ({"stdin": "none", "output": "pipe"}, 252),
        ({"stdin": "none", "output": "files"}, 504),
    ],
)
def test_ranks_that_need_more_open_files_than_allowed_are_refused_before_any_starts(
    make_request: Make, differs: dict[str, Any], most: int
) -> None:
    assert too_many(make_request("true", ranks=most, **differs), 1024) == ""
    refusal = too_many(make_request("true", ranks=most + 1, **differs), 1024)
    assert f"{most + 1} ranks need more open files than are allowed" in refusal
    assert f"expected at most {most} ranks" in refusal
