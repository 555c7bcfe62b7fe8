"""Golden tables: what a program finds, for each backend."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from jobkit.env import names
from jobkit.env.gang import Table
from jobkit.env.mlx import jaccl
from jobkit.env.placement import Placement
from jobkit.env.translate import Identity, Resolved, Translation, alone, program_environ, together

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


JACCL = {
    "MLX_IBV_DEVICES": "/run/j1/attempt-2/gang/devices.json",
    "MLX_JACCL_COORDINATOR": "127.0.0.1:40002",
}
LIBRARY = {"MLX_MPI_LIBNAME": "/lib/libmpi.so.40"}
MATRIX = '[[null, "en1"], ["en2", null]]'


@pytest.mark.parametrize(
    ("chosen", "cuda_build", "expected"),
    [
        (Resolved(("ring",)), False, RING),
        (Resolved(("nccl",)), True, NCCL),
        # A CPU build of MLX would silently make two groups of one: the ring's variables are set beside.
        (Resolved(("nccl",)), False, {**NCCL, **RING}),
        (Resolved(("ring", "nccl")), True, {**NCCL, **RING}),
        # So would MLX's JACCL on Linux.
        (Resolved(("jaccl",), rdma=MATRIX), False, {**JACCL, **RING}),
        (Resolved(("jaccl-ring",), rdma=MATRIX), False, {**JACCL, "MLX_JACCL_RING": "1", **RING}),
        (Resolved(("mpi",), library=tuple(LIBRARY.items()), mlx_mpi=True), False, LIBRARY),
        # So would MLX's MPI with a library that is not Open MPI.
        (Resolved(("mpi",), library=tuple(LIBRARY.items())), False, {**LIBRARY, **RING}),
        (Resolved(("ring",), devices="GPU-1"), False, {**RING, "CUDA_VISIBLE_DEVICES": "GPU-1"}),
    ],
)
def test_a_rank_of_several_finds(
    make_table: Make,
    monkeypatch: pytest.MonkeyPatch,
    chosen: Resolved,
    cuda_build: bool,
    expected: dict[str, str],
) -> None:
    monkeypatch.setattr(jaccl, "MLX_HAS_IT", False)
    found = together(SECOND, IDENTITY, make_table(2, cuda_build=cuda_build), chosen).variables
    assert found == {**PLACED, "JOBKIT_BACKEND": ",".join(chosen.backends), **expected}


def test_where_mlx_has_jaccl_it_finds_no_ring_to_prefer(
    make_table: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaccl, "MLX_HAS_IT", True)
    found = together(SECOND, IDENTITY, make_table(2), Resolved(("jaccl",), rdma=MATRIX)).variables
    assert "MLX_HOSTFILE" not in found


def test_torchs_variables_are_left_to_the_launcher_that_has_set_them(make_table: Make) -> None:
    translation = together(SECOND, IDENTITY, make_table(2), Resolved(("ring",), store=False))
    assert not translation.variables.keys() & {*names.TORCH}
    theirs = dict.fromkeys(names.TORCH, "torchrun's")
    assert program_environ(theirs, translation).items() >= theirs.items()


@pytest.mark.parametrize(
    ("chosen", "files"),
    [
        (Resolved(("ring",)), {"hosts.json"}),
        (Resolved(("nccl",)), set()),
        (Resolved(("jaccl",), rdma=MATRIX), {"hosts.json", "devices.json"}),
    ],
)
def test_every_file_that_a_variable_names_is_written(
    make_table: Make, monkeypatch: pytest.MonkeyPatch, chosen: Resolved, files: set[str]
) -> None:
    monkeypatch.setattr(jaccl, "MLX_HAS_IT", False)
    translation = together(SECOND, IDENTITY, make_table(2, cuda_build=True), chosen)
    folder = "/run/j1/attempt-2/gang/"
    named = {value for value in translation.variables.values() if value.startswith(folder)}
    assert named == {path for path, _ in translation.files}
    assert named == {f"{folder}{name}" for name in {"gang.json", "token", *files}}


def test_the_ring_and_the_token_are_in_their_files(make_table: Make) -> None:
    files = dict(together(SECOND, IDENTITY, make_table(2), Resolved(("ring",))).files)
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


def test_the_only_rank_may_have_devices_and_a_launcher_with_a_store() -> None:
    placement = Placement(0, 1, 0, 1, 0, 1, ("a",))
    variables = alone(placement, Identity("j1", 1, ""), None, "2,3").variables
    assert variables["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert not variables.keys() & {*names.TORCH}
