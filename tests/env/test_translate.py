"""Golden tables: what a program finds, for each backend."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from jobkit.env import names
from jobkit.env.gang import Table
from jobkit.env.placement import Placement
from jobkit.env.translate import Identity, Translation, alone, program_environ, together

Make = Callable[..., Table]

IDENTITY = Identity("j1", 2, "/run/j1")
SECOND = Placement(1, 2, 1, 2, 0, 1, ("node-1", "node-1"))
PLACED = {
    "JOBKIT_RANK": "1",
    "JOBKIT_SIZE": "2",
    "JOBKIT_LOCAL_RANK": "1",
    "JOBKIT_LOCAL_SIZE": "2",
    "JOBKIT_NODE": "0",
    "JOBKIT_NODES": "1",
    "JOBKIT_JOB": "j1",
    "JOBKIT_ATTEMPT": "2",
    "JOBKIT_RUN_DIR": "/run/j1",
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "40000",
    "MLX_RANK": "1",
    "MLX_WORLD_SIZE": "2",
    "JOBKIT_GANG_FILE": "/run/j1/attempt-2/gang/gang.json",
    "JOBKIT_TOKEN_FILE": "/run/j1/attempt-2/gang/token",
    "JOBKIT_VICTIM_FILE": "/run/j1/attempt-2/rank-1.victim.json",
}
RING = {"MLX_HOSTFILE": "/run/j1/attempt-2/gang/hosts.json"}
NCCL = {"NCCL_HOST_IP": "127.0.0.1", "NCCL_PORT": "40001"}


@pytest.mark.parametrize(
    ("backends", "cuda_build", "expected"),
    [
        (("ring",), False, {"JOBKIT_BACKEND": "ring", **RING}),
        (("nccl",), True, {"JOBKIT_BACKEND": "nccl", **NCCL}),
        # A CPU build of MLX would silently make two groups of one: the ring's variables are set beside.
        (("nccl",), False, {"JOBKIT_BACKEND": "nccl", **NCCL, **RING}),
        (("ring", "nccl"), True, {"JOBKIT_BACKEND": "ring,nccl", **NCCL, **RING}),
    ],
)
def test_a_rank_of_several_finds(
    make_table: Make, backends: tuple[str, ...], cuda_build: bool, expected: dict[str, str]
) -> None:
    table = make_table(2, devices=("0", "1"), cuda_build=cuda_build)
    assert together(SECOND, IDENTITY, table, backends).variables == {**PLACED, **expected}


def test_the_files_that_the_variables_name_are_written(make_table: Make) -> None:
    translation = together(SECOND, IDENTITY, make_table(2), ("ring",))
    files = dict(translation.files)
    named = {value for value in translation.variables.values() if value.startswith("/run/j1/attempt-2/gang/")}
    assert files.keys() == named
    hosts = json.loads(files["/run/j1/attempt-2/gang/hosts.json"])
    assert hosts == [["127.0.0.1:20000"], ["127.0.0.1:20001"]]
    assert files["/run/j1/attempt-2/gang/token"] == "ab" * 32


def test_the_only_rank_finds_no_contract_variable_and_loses_inherited_ones() -> None:
    translation = alone(Placement(0, 1, 0, 1, 0, 1, ("a",)), Identity("j1", 1, ""), 4000)
    environ = program_environ({"PATH": "/bin", **dict.fromkeys(names.CONTRACT, "stale")}, translation)
    assert not environ.keys() & {*names.CONTRACT}
    assert (environ["PATH"], environ["RANK"], environ["MASTER_PORT"]) == ("/bin", "0", "4000")
    assert "JOBKIT_RUN_DIR" not in environ


def test_what_the_agent_handed_down_is_gone() -> None:
    environ = program_environ(dict.fromkeys(names.HANDED_DOWN, "1"), Translation({"A": "b"}))
    assert environ == {"A": "b"}


def test_settings_stay() -> None:
    settings = {
        "JOBKIT_HOME": "/h",
        "MLX_METAL_FAST_SYNCH": "1",
        "MLX_RING_VERBOSE": "1",
        "NCCL_DEBUG": "INFO",
        "MLX_NCCL_TIMEOUT": "1000",
        "ROCR_VISIBLE_DEVICES": "1",
        "HIP_VISIBLE_DEVICES": "1",
    }
    assert program_environ(settings, Translation({})) == settings


def test_devices_are_set_only_where_some_were_dealt(make_table: Make) -> None:
    table = make_table(2)
    assert "CUDA_VISIBLE_DEVICES" not in together(SECOND, IDENTITY, table, ("ring",)).variables
    given = together(SECOND, IDENTITY, table, ("ring",), "GPU-1").variables
    assert given["CUDA_VISIBLE_DEVICES"] == "GPU-1"
