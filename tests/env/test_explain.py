from __future__ import annotations

import json

import pytest

from jobkit.env import backends, explain
from jobkit.env.detect import DETECTORS, detect
from jobkit.env.placement import Facts

HERE = Facts(host="node-1")
PLACED = {
    "JOBKIT_RANK": "1",
    "JOBKIT_SIZE": "2",
    "JOBKIT_LOCAL_RANK": "1",
    "JOBKIT_LOCAL_SIZE": "2",
    "JOBKIT_NODE": "0",
    "JOBKIT_NODES": "1",
    "JOBKIT_JOB": "j1",
    "JOBKIT_ATTEMPT": "1",
    "MLX_RANK": "1",
    "MLX_HOSTFILE": "/run/hosts.json",
}


def test_what_is_known_only_at_the_start_is_null() -> None:
    found = detect({}, HERE)
    said = explain.to_json(found, explain.variables(found, {}, ("any",)))
    assert json.loads(json.dumps(said))["variables"]["MASTER_PORT"] is None
    assert said["launcher"] is None
    assert said["evidence"] == dict.fromkeys(DETECTORS, "not found")


def test_a_rank_that_has_met_the_others_keeps_what_it_has() -> None:
    found = detect(PLACED, HERE)
    shown = explain.variables(found, PLACED, ("any",))
    outer = {"JOBKIT_OUTER": "env=MLX_RANK:1 env=MLX_HOSTFILE:/run/hosts.json"}
    assert {variable.name: variable.value for variable in shown} == {**PLACED, **outer}


def test_sources_and_evidence_are_explained() -> None:
    found = detect(PLACED, HERE)
    text = explain.to_text(found, explain.variables(found, PLACED, ("any",)), explain=True)
    assert text.startswith("launcher: jobkit (jobkit says rank 1 of 2)\n  jobkit: rank 1 of 2\n  torchrun: ")
    assert ["MLX_RANK=1", "←", "MLX_RANK,", "as", "found"] in [line.split() for line in text.splitlines()]


def test_without_a_backend_only_the_placement_is_shown() -> None:
    found = detect({}, HERE)
    assert {v.name.split("_")[0] for v in explain.variables(found, {}, ("none",))} == {"JOBKIT"}


SLURM = {
    "SLURM_JOB_ID": "44",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NODELIST": "n[1-2]",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_DISTRIBUTION": "block",
}


def shown(environ: dict[str, str], *backends: str) -> dict[str, tuple[str | None, str]]:
    found = detect(environ, HERE)
    return {v.name: (v.value, v.source) for v in explain.variables(found, environ, backends or ("any",))}


def test_a_rank_of_a_foreign_launcher_sees_every_variable_with_its_source() -> None:
    said = shown(SLURM)
    assert said["MLX_RANK"] == said["RANK"] == said["JOBKIT_RANK"] == ("5", "SLURM_PROCID")
    assert said["MLX_WORLD_SIZE"] == ("8", "SLURM_STEP_NUM_TASKS")
    assert said["LOCAL_WORLD_SIZE"] == ("4", "SLURM_STEP_TASKS_PER_NODE")
    assert said["JOBKIT_JOB"] == ("slurm-44.0", "SLURM_STEP_ID")
    assert said["JOBKIT_ATTEMPT"] == ("1", "SLURM_RESTART_COUNT is not set")
    for name in ("MASTER_ADDR", "MASTER_PORT", "JOBKIT_BACKEND", "JOBKIT_GANG_FILE", "MLX_HOSTFILE"):
        assert said[name][0] is None


@pytest.mark.parametrize(
    ("backend", "names"),
    [
        ("ring", {"MLX_HOSTFILE"}),
        ("nccl", {"NCCL_HOST_IP", "NCCL_PORT", "CUDA_VISIBLE_DEVICES"}),
        ("jaccl", {"MLX_IBV_DEVICES", "MLX_JACCL_COORDINATOR"}),
        ("jaccl-ring", {"MLX_IBV_DEVICES", "MLX_JACCL_COORDINATOR", "MLX_JACCL_RING"}),
        ("mpi", {"MLX_MPI_LIBNAME", "MPI_LIBNAME", "MPI4PY_LIBMPI"}),
    ],
)
def test_a_backend_that_is_named_shows_its_own(backend: str, names: set[str]) -> None:
    said = shown(SLURM, backend)
    assert said["JOBKIT_BACKEND"] == (backend, "--backend")
    several = {name for _, added in OF_BACKENDS for name in added}
    assert {name for name in said if name in several} == names


OF_BACKENDS = tuple(explain._OF_BACKEND.items())


def test_every_backend_can_be_explained() -> None:
    assert {name for name, _ in OF_BACKENDS} == {*backends.NAMES, "any"} - {"none"}


def test_what_only_the_other_ranks_know_is_null() -> None:
    ranks = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"}
    local = {"OMPI_COMM_WORLD_LOCAL_RANK": "0", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
    said = shown({**ranks, **local})
    assert said["JOBKIT_NODE"] == said["JOBKIT_NODES"] == (None, "the other ranks")
    assert said["JOBKIT_JOB"] == (None, "the process that starts the program")


def test_torchruns_variables_stay_as_they_are() -> None:
    worker = dict.fromkeys(("RANK", "LOCAL_RANK", "GROUP_RANK"), "0")
    sizes = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1"}
    address = {"MASTER_ADDR": "a", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none"}
    assert shown({**worker, **sizes, **address})["MASTER_PORT"] == ("29500", "MASTER_PORT, as found")


def test_the_launchers_around_a_program_are_shown() -> None:
    assert shown(SLURM, "none")["JOBKIT_OUTER"][0] == "slurm=slurm-44.0:5"
    assert shown(SLURM)["JOBKIT_OUTER"][0] is None


def test_what_is_no_rank_has_no_variables() -> None:
    environ = {"SLURM_JOB_ID": "44"}
    found = detect(environ, HERE)
    text = explain.to_text(found, explain.variables(found, environ, ("any",)), explain=True)
    assert text.startswith("launcher: none (SLURM_JOB_ID=44: an allocation without a step")
    assert text.endswith("placement: none")
    said = explain.to_json(found, ())
    assert (said["launcher"], said["placement"], said["variables"]) == (None, None, {})


def test_of_many_hosts_the_first_are_shown() -> None:
    environ = {**SLURM, "SLURM_STEP_NUM_TASKS": "64", "SLURM_STEP_TASKS_PER_NODE": "32(x2)"}
    found = detect(environ, HERE)
    text = explain.to_text(found, (), explain=True)
    assert "placement: rank 5 of 64, local rank 1 of 32, node 1 of 2, hosts " + "n1 " * 16 + "…" in text
