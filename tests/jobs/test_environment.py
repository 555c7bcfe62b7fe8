from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.errors import SpecError
from jobkit.jobs import environment

AROUND = {
    "PATH": "/bin",
    "HOME": "/h",
    "LANG": "C",
    "COLOUR": "red",
    "TOKEN": "s3cret",
    "MLX_RANK": "3",
    "SLURM_JOB_ID": "9",
    "JOBKIT_TIMEOUT_S": "10",
}


def test_the_keeper_gets_the_environment_without_launchers_and_secrets_but_what_is_forwarded() -> None:
    forward = environment.taken("forward", ["SLURM_JOB_ID"], AROUND)
    given = environment.of_keeper("a", AROUND, forward, ["TOKEN"])
    assert given == {
        "PATH": "/bin",
        "HOME": "/h",
        "LANG": "C",
        "COLOUR": "red",
        "SLURM_JOB_ID": "9",
        "JOBKIT_TIMEOUT_S": "10",
        "JOBKIT_KEEPER": "a",
    }


def test_without_inheriting_ranks_start_from_four_names() -> None:
    assert environment.of_ranks(AROUND, inherit=False) == {"PATH": "/bin", "HOME": "/h", "LANG": "C"}
    assert environment.of_ranks(AROUND | {"JOBKIT_KEEPER": "a"}, inherit=True) == AROUND


def test_env_overrides_forward_and_secrets_override_both() -> None:
    laid = environment.overlay({"A": "f", "B": "f", "C": "f"}, {"B": "e", "C": "e"}, {"C": "s"})
    assert laid == {"A": "f", "B": "e", "C": "s"}


def test_every_missing_name_is_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        environment.check({"forward": ["NOT_A"], "secrets": ["NOT_B", "TOKEN"]}, AROUND)
    assert str(caught.value).splitlines() == [
        "forward: not set in the submitting environment, got 'NOT_A'",
        "secrets: not set in the submitting environment, got 'NOT_B'",
    ]


def test_the_keeper_finds_the_home_from_its_own_directory() -> None:
    given = environment.of_keeper("a", {"JOBKIT_HOME": "here"}, {}, [])
    assert given["JOBKIT_HOME"] == str(Path.cwd() / "here")
