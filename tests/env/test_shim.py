from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobkit.env.detect import Detection, detect
from jobkit.env.placement import Facts, Found, Placement
from jobkit.env.shim import identify, prepare
from jobkit.errors import LaunchError

HERE = Facts(host="node-1")


def test_a_program_started_by_hand_is_a_job_of_its_own() -> None:
    identity = identify({}, detect({}, HERE))
    assert identity.job == f"{os.uname().nodename}.{os.getpid()}"
    assert (identity.attempt, identity.run_dir) == (1, "")


def test_a_rank_belongs_to_the_attempt_that_it_is_told() -> None:
    given = {"JOBKIT_JOB": "j1/3", "JOBKIT_ATTEMPT": "2", "JOBKIT_RUN_DIR": "/run/j1/3"}
    identity = identify(given, detect({}, HERE))
    assert identity.folder == "/run/j1/3/attempt-2/gang"


def test_a_launchers_job_has_a_folder_in_the_home() -> None:
    launched = Detection(
        "torchrun", "", Found(Placement(1, 2, 1, 2, 0, 1, ("a", "a")), "torchrun-a/b:1", 3), ()
    )
    identity = identify({"JOBKIT_HOME": "/home"}, launched)
    assert (identity.job, identity.attempt) == ("torchrun-a/b:1", 3)
    assert identity.folder == "/home/jobs/torchrun-a_b_1/attempt-3/rank-1.gang"


@pytest.mark.parametrize(("job", "folder"), [("..", "job-.."), (".", "job-."), ("x" * 300, "x" * 200)])
def test_a_jobs_folder_is_one_of_its_own(job: str, folder: str) -> None:
    launched = Detection("torchrun", "", Found(Placement(1, 2, 1, 2, 0, 1, ("a", "a"))), ())
    identity = identify({"JOBKIT_HOME": "/home", "JOBKIT_JOB": job}, launched)
    assert identity.run_dir == f"/home/jobs/{folder}"


def test_a_launcher_inside_a_rank_shares_nothing_with_it() -> None:
    launched = Detection("openmpi", "", Found(Placement(0, 2, 0, 2, 0, 1, ("a", "a")), "openmpi-7"), ())
    outside = {"JOBKIT_RANK": "3", "JOBKIT_JOB": "j1", "JOBKIT_ATTEMPT": "2", "JOBKIT_RUN_DIR": "/run/j1"}
    identity = identify({**outside, "JOBKIT_HOME": "/home"}, launched)
    assert (identity.job, identity.attempt, identity.run_dir) == ("openmpi-7", 1, "/home/jobs/openmpi-7")


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


def test_a_rank_that_a_launcher_started_takes_its_place_before_it_meets_anybody(tmp_path: Path) -> None:
    launched = Detection("openmpi", "", Found(Placement(0, 1, 0, 1, 0, 1, ("a",)), "openmpi-7"), ())
    attempt = tmp_path / "jobs" / "openmpi-7" / "attempt-1"
    attempt.mkdir(parents=True)
    for rank in (0, 1):
        (attempt / f"rank-{rank}.exit.json").write_text("of an earlier job")
    prepared = prepare({"JOBKIT_HOME": str(tmp_path)}, launched, ("none",), None)
    assert [str(path.relative_to(attempt)) for path in attempt.rglob("*")] == [
        "rank-0.gang",
        "rank-0.gang/alive",
    ]
    assert prepared.files == (str(attempt / "rank-0.gang" / "alive"),)
    os.close(prepared.presence)


def test_a_rank_that_is_refused_leaves_no_place(tmp_path: Path) -> None:
    launched = Detection("openmpi", "", Found(Placement(0, 1, 0, 1, 0, 1, ("a",)), "openmpi-7"), ())
    with pytest.raises(LaunchError):
        prepare({"JOBKIT_HOME": str(tmp_path), "JOBKIT_PORTS": "x"}, launched, ("any",), None)
    assert list(tmp_path.rglob("*.gang")) == []
