from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobkit.env.record import RankExit, write_exit
from jobkit.jobs import secret_file
from jobkit.slurm import epilogue

NOW = "2026-11-22T10:00:00.000Z"


def ended(rank: int, status: int, order: int, *, by_jobkit: bool = False) -> RankExit:
    return RankExit(rank, "h", status, None, by_jobkit, None, "exit", NOW, NOW, order)


@pytest.mark.parametrize(
    ("ranks", "srun", "status"),
    [
        ([ended(0, 143, 2, by_jobkit=True), ended(1, 7, 1)], 143, 7),
        ([ended(0, 3, 2), ended(1, 7, 1)], 7, 7),
        ([ended(0, 0, 1), ended(1, 7, 2)], 0, 7),
        ([ended(0, 0, 1)], 0, 0),
        ([], 2, 2),
    ],
    ids=["a peer that was ended", "the first", "whatever srun says", "success", "no rank"],
)
def test_the_status_is_that_of_the_rank_that_failed_first(
    ranks: list[RankExit], srun: int, status: int, tmp_path: Path
) -> None:
    attempt = tmp_path / "attempt-2"
    attempt.mkdir()
    for one in ranks:
        write_exit(attempt, one)
    assert epilogue.main([str(tmp_path), "2", str(srun)]) == status
    written = epilogue.batch_exit(attempt)
    assert written is not None
    assert (written.srun, written.status) == (srun, status)


def test_a_rank_that_was_killed_with_its_shim_is_found_in_what_srun_said(
    tmp_path: Path,
) -> None:
    attempt = tmp_path / "attempt-1"
    attempt.mkdir()
    write_exit(attempt, ended(0, 143, 1, by_jobkit=True))
    said = "srun: error: h1: task 0: Terminated\nsrun: error: h2: task 3: Killed\n"
    (tmp_path / "slurm-12.log").write_text(said)
    assert epilogue.main([str(tmp_path), "1", "143"]) == 137
    written = epilogue.batch_exit(attempt)
    assert written is not None
    assert (written.rank, written.host) == (3, "h2")


def test_a_setup_that_failed_is_why_no_rank_was_started(tmp_path: Path) -> None:
    attempt = tmp_path / "attempt-1"
    attempt.mkdir()
    (attempt / "setup-h.json").write_text('{"failed": "setup: line 1 failed"}')
    assert epilogue.main([str(tmp_path), "1", "1"]) == 125
    written = epilogue.batch_exit(attempt)
    assert written is not None
    assert written.reason == "setup: line 1 failed"


def test_secrets_are_erased(tmp_path: Path) -> None:
    (tmp_path / "attempt-1").mkdir()
    (tmp_path / "secrets").write_bytes(secret_file.dumps({"TOKEN": "s3cret"}))
    epilogue.main([str(tmp_path), "1", "0"])
    assert json.loads((tmp_path / "secrets").read_text()) == {"TOKEN": None}


def test_the_last_script_of_a_sweep_erases_the_secrets(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_bytes(secret_file.dumps({"TOKEN": "s3cret"}))
    for point in ("0", "1"):
        (tmp_path / point / "attempt-1").mkdir(parents=True)
    assert epilogue.main([str(tmp_path), "1", "0", "1"]) == 0
    assert json.loads((tmp_path / "secrets").read_text()) == {"TOKEN": "s3cret"}
    assert epilogue.main([str(tmp_path), "1", "3", "0"]) == 3
    assert json.loads((tmp_path / "secrets").read_text()) == {"TOKEN": None}


def test_a_folder_that_is_gone_does_not_change_the_status(tmp_path: Path) -> None:
    assert epilogue.main([str(tmp_path / "gone"), "1", "9"]) == 9


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1}', '{"schema": 1, "rank": 0}'])
def test_what_is_no_record_is_passed_over(text: str, tmp_path: Path) -> None:
    (tmp_path / "rank-0.exit.json").write_text(text)
    (tmp_path / "batch.exit.json").write_text(text)
    assert (epilogue.rank_exits(tmp_path), epilogue.batch_exit(tmp_path)) == ({}, None)


OUT_OF_MEMORY = "slurmstepd-h: error: Detected 1 oom_kill event in StepId=7.0.\n"


@pytest.mark.parametrize(("status", "told"), [(137, True), (7, False)])
def test_a_rank_that_the_kernel_killed_for_its_memory_is_told(
    status: int, told: bool, tmp_path: Path
) -> None:
    (tmp_path / "slurm-7.log").write_text(OUT_OF_MEMORY)
    attempt = tmp_path / "attempt-1"
    attempt.mkdir()
    write_exit(attempt, ended(1, status, 0))
    left = epilogue.ending(tmp_path, attempt, 137)
    assert (left.status, left.out_of_memory) == (status, told)


@pytest.mark.parametrize("known", [(3, "h"), None])
def test_a_step_that_was_killed_for_its_memory_names_the_rank_that_accounting_names(
    known: tuple[int, str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobkit.slurm.memory.hungriest", lambda *_: known)
    (tmp_path / "slurm-7.log").write_text(OUT_OF_MEMORY + "srun: error: h: task 0: Killed\n")
    left = epilogue.ending(tmp_path, tmp_path, 137)
    rank, host = known or (None, None)
    assert (left.status, left.rank, left.host, left.out_of_memory) == (137, rank, host, True)
