from __future__ import annotations

import os

import pytest

from jobkit.env.detect import Detection, detect
from jobkit.env.placement import Facts
from jobkit.env.shim import identify, prepare
from jobkit.errors import LaunchError

HERE = Facts(host="node-1")


def test_a_program_started_by_hand_is_a_job_of_its_own() -> None:
    identity = identify({})
    assert identity.job == f"{os.uname().nodename}.{os.getpid()}"
    assert (identity.attempt, identity.run_dir) == (1, "")


def test_a_rank_belongs_to_the_attempt_that_it_is_told() -> None:
    identity = identify({"JOBKIT_JOB": "j1/3", "JOBKIT_ATTEMPT": "2", "JOBKIT_RUN_DIR": "/run/j1/3"})
    assert identity.folder == "/run/j1/3/attempt-2/gang"


def test_a_process_that_is_no_rank_is_refused_with_the_reason() -> None:
    found = Detection(None, "an allocation without a step: start it with srun", None, ())
    with pytest.raises(LaunchError, match="an allocation without a step"):
        prepare({}, found, ("any",), None)


def test_without_a_backend_only_the_placement_is_set() -> None:
    environ = {"PATH": "/bin", "MLX_RANK": "3"}
    after = prepare(environ, detect({}, HERE), ("none",), None).environ
    assert {name for name in after if not name.startswith("JOBKIT_")} == {"PATH"}


def test_the_environment_given_is_not_changed() -> None:
    environ = {"PATH": "/bin", "MLX_RANK": ""}
    prepare(environ, detect({}, HERE), ("none",), None)
    assert environ == {"PATH": "/bin", "MLX_RANK": ""}
