from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.plan import Retries
from jobkit.slurm import epilogue, prologue
from jobkit.slurm.epilogue import BatchExit

PREEMPTED = "slurmstepd-a: error: *** JOB 7 ON a CANCELLED AT 2026-11-23T00:20:57 DUE TO PREEMPTION ***\n"


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a job that may be started again once after a preemption or a node failure."""
    for name in ("attempt-1", "attempt-2"):
        (tmp_path / name).mkdir()
    (tmp_path / "secrets").write_text('{"TOKEN": "s3cret"}')
    monkeypatch.setattr(epilogue, "retries", lambda _: Retries(1, 1, 0))
    monkeypatch.setattr(prologue, "retries", lambda _: Retries(1, 1, 0))
    return tmp_path


def wrote(run_dir: Path, number: int, kind: str | None, status: int, *, again: bool) -> None:
    ended = BatchExit(status, status, "2026-11-23T00:20:57.000Z", kind=kind, again=again)
    epilogue.write(run_dir / f"attempt-{number}", ended)


def over(run_dir: Path, attempt: int, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the exit status with which an attempt ends at once, "" for one that goes on."""
    assert prologue.main([str(run_dir), str(attempt)]) == 0
    return capsys.readouterr().out.strip()


def test_an_attempt_goes_on_that_the_one_before_asked_for(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrote(run_dir, 1, "failed", 7, again=True)
    assert over(run_dir, 2, capsys) == ""
    assert "s3cret" in (run_dir / "secrets").read_text()


@pytest.mark.parametrize("status", [0, 7])
def test_a_job_that_has_ended_does_not_begin_again(
    status: int, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrote(run_dir, 1, None, status, again=False)
    assert over(run_dir, 2, capsys) == str(status)
    assert "s3cret" not in (run_dir / "secrets").read_text()


@pytest.mark.parametrize(
    ("said", "kind", "status"), [(PREEMPTED, "preempted", "143"), ("", "node_failure", "125")]
)
def test_an_attempt_whose_script_was_killed_counts(
    said: str, kind: str, status: str, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = run_dir / "slurm-7.log"
    log.write_text(f"jobkit: attempt 1\n{said}")
    assert over(run_dir, 2, capsys) == ""
    known = epilogue.batch_exit(run_dir / "attempt-1")
    assert known is not None
    assert (known.kind, known.again) == (kind, True)
    log.write_text(f"jobkit: attempt 1\n{said}jobkit: attempt 2\n{said}")
    assert over(run_dir, 3, capsys) == status
    assert "s3cret" not in (run_dir / "secrets").read_text()
