from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobkit.env.record import RankExit, write_exit
from jobkit.jobs import secret_file
from jobkit.plan import Retries
from jobkit.slurm import client, epilogue
from jobkit.slurm.epilogue import BatchExit

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
    assert epilogue.main([str(tmp_path), "2", str(srun)], {}) == status
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
    assert epilogue.main([str(tmp_path), "1", "143"], {}) == 137
    written = epilogue.batch_exit(attempt)
    assert written is not None
    assert (written.rank, written.host) == (3, "h2")


def test_a_script_of_a_template_writes_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "attempt-1").mkdir()
    output = tmp_path / "slurm-12.out"
    output.write_bytes(b"\xff\n" * epilogue._LOG_BYTES + b"srun: error: h2: task 3: Killed\n")
    monkeypatch.setattr(epilogue, "_STDERR", output)
    assert epilogue.main([str(tmp_path), "1", "143"], {}) == 137


def test_a_setup_that_failed_is_why_no_rank_was_started(tmp_path: Path) -> None:
    attempt = tmp_path / "attempt-1"
    attempt.mkdir()
    (attempt / "setup-h.json").write_text('{"failed": "setup: line 1 failed"}')
    assert epilogue.main([str(tmp_path), "1", "1"], {}) == 125
    written = epilogue.batch_exit(attempt)
    assert written is not None
    assert written.reason == "setup: line 1 failed"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            "srun: error: task 1 launch failed: Slurmd could not connect IO\n",
            "rank 1 was not started: Slurmd could not connect IO",
        ),
        ("", "rank 1 has left no record that it was started"),
    ],
)
def test_an_attempt_without_each_rank_is_no_success(
    said: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epilogue, "_SEEN_S", 0.1)
    attempt = tmp_path / "attempt-1"
    attempt.mkdir()
    write_exit(attempt, ended(0, 0, 1))
    got = epilogue.ending(attempt, 0, said, ranks=2)
    assert (got.status, got.reason) == (125, why)
    assert sorted(path.name for path in attempt.iterdir()) == ["rank-0.exit.json"]
    write_exit(attempt, ended(1, 0, 1))
    assert epilogue.ending(attempt, 0, said, ranks=2).status == 0


def test_secrets_are_erased(tmp_path: Path) -> None:
    (tmp_path / "attempt-1").mkdir()
    (tmp_path / "secrets").write_bytes(secret_file.dumps({"TOKEN": "s3cret"}))
    epilogue.main([str(tmp_path), "1", "0"], {})
    assert json.loads((tmp_path / "secrets").read_text()) == {"TOKEN": None}


def test_the_last_script_of_a_sweep_erases_the_secrets(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_bytes(secret_file.dumps({"TOKEN": "s3cret"}))
    for point in ("0", "1"):
        (tmp_path / point / "attempt-1").mkdir(parents=True)
    assert epilogue.main([str(tmp_path), "1", "0", "1"], {}) == 0
    assert json.loads((tmp_path / "secrets").read_text()) == {"TOKEN": "s3cret"}
    assert epilogue.main([str(tmp_path), "1", "3", "0"], {}) == 3
    assert json.loads((tmp_path / "secrets").read_text()) == {"TOKEN": None}


def test_a_folder_that_is_gone_does_not_change_the_status(tmp_path: Path) -> None:
    assert epilogue.main([str(tmp_path / "gone"), "1", "9"], {}) == 9


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
    attempt = tmp_path / "attempt-1"
    attempt.mkdir()
    write_exit(attempt, ended(1, status, 0))
    left = epilogue.ending(attempt, 137, OUT_OF_MEMORY, ranks=2)
    assert (left.status, left.out_of_memory) == (status, told)


@pytest.mark.parametrize("known", [(3, "h"), None])
def test_a_step_that_was_killed_for_its_memory_names_the_rank_that_accounting_names(
    known: tuple[int, str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobkit.slurm.memory.hungriest", lambda *_: known)
    left = epilogue.ending(tmp_path, 137, OUT_OF_MEMORY + "srun: error: h: task 0: Killed\n", ranks=2)
    rank, host = known or (None, None)
    assert (left.status, left.rank, left.host, left.out_of_memory) == (137, rank, host, True)


SAID = "slurmstepd-a: error: *** JOB 7 ON a CANCELLED AT 2026-11-23T00:20:57{} ***\n"


class Slurm:
    """What the end of a script asks Slurm for: what it was told, and whether it refuses to requeue."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.preempts = self.refuses = False
        monkeypatch.setattr(client, "call", self._call)
        monkeypatch.setattr(client, "own_environ", lambda environ: environ)

    def _call(self, words: tuple[str, ...], *_: object, **__: object) -> client.Answer:
        if words[:2] == ("scontrol", "show"):
            time = "2026-11-23T00:23:40" if self.preempts else "None"
            return client.Answer(0, f"JobId=7 PreemptEligibleTime=2026-11-23T00:23:39 PreemptTime={time}", "")
        self.asked.append(" ".join(words))
        return client.Answer(int(self.refuses and words[1] == "requeue"), "", "not now")


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    return Slurm(monkeypatch)


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a job that may be started again once for each reason; one of two ranks has ended."""
    (tmp_path / "attempt-1").mkdir()
    (tmp_path / "secrets").write_bytes(secret_file.dumps({"TOKEN": "s3cret"}))
    monkeypatch.setattr(epilogue, "retries", lambda _: Retries(1, 1, 1))
    return tmp_path


@pytest.mark.parametrize(
    ("said", "status", "by_jobkit", "kind", "asked"),
    [
        (" DUE TO PREEMPTION", 143, True, "preempted", []),
        (" DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS", 143, True, "node_failure", []),
        (" DUE TO JOB REQUEUE", 143, True, "requeued", []),
        (None, 7, False, "failed", ["scontrol requeue 7"]),
    ],
)
def test_another_attempt_follows_and_the_secrets_stay(
    run_dir: Path, slurm: Slurm, said: str | None, status: int, by_jobkit: bool, kind: str, asked: list[str]
) -> None:
    (run_dir / "slurm-7.log").write_text("jobkit: attempt 1\n" + ("" if said is None else SAID.format(said)))
    write_exit(run_dir / "attempt-1", ended(0, status, 1, by_jobkit=by_jobkit))
    epilogue.main([str(run_dir), "1", "143"], {"SLURM_JOB_ID": "7"})
    known = epilogue.batch_exit(run_dir / "attempt-1")
    assert known is not None
    assert (known.kind, known.again, slurm.asked) == (kind, True, asked)
    assert "s3cret" in (run_dir / "secrets").read_text()


@pytest.mark.parametrize(
    ("said", "before", "status", "asked"),
    [
        (" DUE TO PREEMPTION", "preempted", 143, ["scancel 7"]),
        (" DUE TO NODE FAILURE", "node_failure", 125, ["scancel 7"]),
        (None, "failed", 7, []),
        ("", None, 7, []),
    ],
    ids=["preempted", "node failure", "failed", "cancelled"],
)
def test_a_job_ends_truthfully_when_its_retries_are_spent(
    run_dir: Path, slurm: Slurm, said: str | None, before: str | None, status: int, asked: list[str]
) -> None:
    epilogue.write(run_dir / "attempt-1", BatchExit(143, 143, NOW, kind=before, again=True))
    (run_dir / "attempt-2").mkdir()
    write_exit(run_dir / "attempt-2", ended(0, 7, 1))
    (run_dir / "slurm-7.log").write_text("jobkit: attempt 2\n" + ("" if said is None else SAID.format(said)))
    assert epilogue.main([str(run_dir), "2", "143"], {"SLURM_JOB_ID": "7"}) == status
    assert slurm.asked == asked
    assert "s3cret" not in (run_dir / "secrets").read_text()


@pytest.mark.parametrize("status", [0, 138, 143])
def test_what_ends_in_the_grace_before_a_preemption_starts_again(
    run_dir: Path, slurm: Slurm, status: int
) -> None:
    slurm.preempts = True
    write_exit(run_dir / "attempt-1", ended(0, status, 1, by_jobkit=status == 143))
    epilogue.main([str(run_dir), "1", str(status)], {"SLURM_JOB_ID": "7"})
    known = epilogue.batch_exit(run_dir / "attempt-1")
    assert known is not None
    assert (known.kind, known.again, slurm.asked) == ("preempted", True, ["scontrol requeue 7"])


def test_a_requeue_that_is_refused_leaves_the_failure(
    run_dir: Path, slurm: Slurm, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm.refuses = True
    write_exit(run_dir / "attempt-1", ended(0, 7, 1))
    assert epilogue.main([str(run_dir), "1", "7"], {"SLURM_JOB_ID": "7"}) == 7
    known = epilogue.batch_exit(run_dir / "attempt-1")
    assert known is not None
    assert not known.again
    assert "not now" in capsys.readouterr().err
    assert "s3cret" not in (run_dir / "secrets").read_text()
