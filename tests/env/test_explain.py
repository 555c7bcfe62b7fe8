from __future__ import annotations

import json

import pytest

from jobkit.env import explain
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
    assert said["evidence"] == dict.fromkeys((name for name, _ in DETECTORS), "not found")


def test_a_rank_that_has_met_the_others_keeps_what_it_has() -> None:
    found = detect(PLACED, HERE)
    shown = explain.variables(found, PLACED, ("any",))
    assert {variable.name: variable.value for variable in shown} == PLACED


def test_sources_and_evidence_are_explained() -> None:
    found = detect(PLACED, HERE)
    text = explain.to_text(found, explain.variables(found, PLACED, ("any",)), explain=True)
    assert text.startswith("launcher: jobkit (jobkit says rank 1 of 2)\n  jobkit: rank 1 of 2\n  torchrun: ")
    assert "MLX_RANK=1                    ← MLX_RANK, as found" in text


def test_without_a_backend_only_the_placement_is_shown() -> None:
    found = detect({}, HERE)
    assert {v.name.split("_")[0] for v in explain.variables(found, {}, ("none",))} == {"JOBKIT"}


def test_a_record_is_read_back_without_what_may_be_secret() -> None:
    environ = {"RANK": "0", "WORLD_SIZE": "1", "API_KEY": "sesame"}
    text = json.dumps(explain.record(environ, Facts("a", ("a", "b"))))
    assert "sesame" not in text
    assert explain.recorded(text) == ({**environ, "API_KEY": ""}, Facts("a", ("a", "b")))


@pytest.mark.parametrize("text", ["A=1\nB=two=2\n", "A=1\0B=two=2\0"])
def test_the_output_of_env_is_read(text: str) -> None:
    assert explain.recorded(text) == ({"A": "1", "B": "two=2"}, Facts())


@pytest.mark.parametrize("text", ["", "nothing", "{"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        explain.recorded(text)
