"""What is told of a job, from what its ranks wrote and what Slurm says; on a real Slurm in tests/clusters."""

from __future__ import annotations

import doctest
import os
from dataclasses import replace
from pathlib import Path

import pytest

from jobkit.env.record import RankExit, write_exit
from jobkit.jobs import process, record, truth
from jobkit.jobs.record import Origin, RankRecord, Record, TaskRecord
from jobkit.slurm import client, epilogue, queue
from jobkit.slurm.epilogue import BatchExit
from jobkit.slurm.queue import Seen

AT = "2026-11-22T10:00:00.000Z"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A job of two ranks that Slurm has under number 7."""
    folder = tmp_path / "a"
    folder.mkdir()
    me = process.identify(os.getpid())
    assert me is not None
    origin = Origin((), "/", "a.yaml", None, None, (), (), "0", None, me)
    task = TaskRecord(None, ranks=(RankRecord(0), RankRecord(1)))
    record.write(folder, Record("a", "a", "slurm", "queued", AT, (task,), origin, scheduler_id="7"))
    return folder


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> dict[str, Seen]:
    """What Slurm knows."""
    known: dict[str, Seen] = {}
    monkeypatch.setattr(queue, "every", lambda _, **__: known)
    monkeypatch.setattr(queue, "find", lambda numbers, _, **__: {n: known[n] for n in numbers if n in known})
    return known


def says(state: str, *, reason: str = "", status: int | None = None, start: str | None = None) -> Seen:
    return Seen("7", state, start, reason, "jobkit:a", status)


def left(run_dir: Path, *exits: tuple[int, bool], srun: int | None = None) -> None:
    """Let ranks 0, 1, … have ended with a status, because of the job or not."""
    attempt = run_dir / "attempt-1"
    attempt.mkdir()
    for rank, (status, by_jobkit) in enumerate(exits):
        write_exit(attempt, RankExit(rank, "h", status, None, by_jobkit, None, "exit", AT, AT, rank))
    if srun is not None:
        point = [run_dir.name] if run_dir.name.isdecimal() else []
        epilogue.main([str(run_dir.parent if point else run_dir), "1", str(srun), *point], {})


def told(run_dir: Path) -> tuple[str, int | None, str | None]:
    known = truth.look(run_dir)
    return known.state, known.exit and known.exit.status, known.reason


@pytest.mark.parametrize(
    ("seen", "state", "reason"),
    [
        (says("PENDING", reason="Priority"), "queued", "waiting behind jobs of a higher priority (Priority)"),
        (
            says("PENDING", reason="Resources", start="2026-11-22T10:00:00.000000Z"),
            "queued",
            "waiting for free nodes or cores (Resources), expected to start 2026-11-22T10:00:00Z",
        ),
        (says("CONFIGURING"), "starting", "its nodes are getting ready (CONFIGURING)"),
        (says("RUNNING"), "running", None),
        (says("COMPLETING"), "running", None),
        (says("SUSPENDED"), "running", "suspended"),
        (
            says("PENDING", reason="job requeued in held state", start="2026-11-22T10:00:00.000000Z"),
            "queued",
            "held after it was requeued; `scontrol release` lets it go (job requeued in held state)",
        ),
        (says("REQUEUE_HOLD"), "requeued", "held after it was requeued (REQUEUE_HOLD)"),
    ],
)
def test_what_has_not_ended(
    seen: Seen, state: str, reason: str | None, run_dir: Path, slurm: dict[str, Seen]
) -> None:
    slurm["7"] = seen
    assert told(run_dir) == (state, None, reason)
    assert record.read(run_dir).state == "queued"  # only what stays is written


@pytest.mark.parametrize(
    ("word", "state", "status"),
    [
        ("TIMEOUT", "timeout", 124),
        ("DEADLINE", "timeout", 124),
        ("OUT_OF_MEMORY", "failed", 137),
        ("NODE_FAIL", "lost", 125),
        ("BOOT_FAIL", "lost", 125),
        ("CANCELLED", "cancelled", 143),
        ("PREEMPTED", "preempted", 143),
    ],
)
def test_how_slurm_ended_it(
    word: str, state: str, status: int, run_dir: Path, slurm: dict[str, Seen]
) -> None:
    slurm["7"] = says(word)
    left(run_dir, (143, True), srun=143)
    assert told(run_dir)[:2] == (state, status)
    slurm.clear()
    assert told(run_dir)[:2] == (state, status)  # it was written down


def test_a_rank_that_failed_decides_whatever_slurm_says(run_dir: Path, slurm: dict[str, Seen]) -> None:
    left(run_dir, (143, True), (7, False), srun=143)
    slurm["7"] = says("COMPLETED", status=0)
    assert told(run_dir) == ("failed", 7, None)
    assert truth.look(run_dir).exit == record.JobExit(7, 1, "h", None, "exit 7")


def test_slurms_completed_does_not_hide_a_failure(run_dir: Path, slurm: dict[str, Seen]) -> None:
    left(run_dir, (0, False), (7, False))
    slurm["7"] = says("COMPLETED", status=0)
    assert told(run_dir)[:2] == ("failed", 7)


def test_its_examples_hold() -> None:
    assert doctest.testmod(truth).failed == 0


def test_success_needs_no_answer_of_slurms(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left(run_dir, (0, False), (0, False), srun=0)
    monkeypatch.setattr(queue, "every", _unanswered)
    assert told(run_dir) == ("succeeded", 0, None)


def test_a_failure_without_records_has_the_scripts_status(run_dir: Path, slurm: dict[str, Seen]) -> None:
    slurm["7"] = says("FAILED", status=2)
    (run_dir / "slurm-7.log").touch()
    state, status, reason = told(run_dir)
    assert (state, status) == ("failed", 2)
    assert str(run_dir / "slurm-7.log") in (reason or "")


def test_a_run_folder_that_no_node_could_write_is_told(run_dir: Path, slurm: dict[str, Seen]) -> None:
    slurm["7"] = says("FAILED", status=181)
    state, status, reason = told(run_dir)
    assert (state, status) == ("lost", 125)
    assert f"{run_dir}: no node has written anything there" in (reason or "")


def test_a_setup_that_failed_is_told_without_slurm(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "every", _unanswered)
    (run_dir / "attempt-1").mkdir()
    (run_dir / "attempt-1" / "setup-h.json").write_text('{"failed": "setup: line 1 failed"}')
    epilogue.main([str(run_dir), "1", "125"], {})
    assert told(run_dir) == ("failed", 125, "setup: line 1 failed")


def test_a_slurm_that_does_not_answer_changes_nothing(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "find", _unanswered)
    assert told(run_dir) == ("queued", None, "as last known, since Slurm cannot be asked: down")


def test_what_has_begun_is_last_known_to_run(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left(run_dir, (0, False))
    monkeypatch.setattr(queue, "find", _unanswered)
    assert told(run_dir)[:2] == ("running", None)


def _unanswered(*_: object, **__: object) -> dict[str, Seen]:
    raise client.UnansweredError("down")


def test_what_nobody_knows_is_lost_until_the_right_slurm_is_asked(
    run_dir: Path, slurm: dict[str, Seen]
) -> None:
    assert told(run_dir)[:2] == ("lost", 125)
    slurm["7"] = says("RUNNING")
    assert told(run_dir)[0] == "running"


def test_the_same_number_on_another_cluster_is_another_job(run_dir: Path, slurm: dict[str, Seen]) -> None:
    slurm["7"] = Seen("7", "COMPLETED", None, "", "jobkit:b", 0)
    assert told(run_dir)[:2] == ("lost", 125)


def test_a_rank_that_suffered_from_a_node_failure_is_not_its_cause(
    run_dir: Path, slurm: dict[str, Seen]
) -> None:
    left(run_dir)
    write_exit(run_dir / "attempt-1", RankExit(0, "h", 1, None, False, 1, "exit", AT, AT, 0))
    epilogue.main([str(run_dir), "1", "1"], {})
    slurm["7"] = says("NODE_FAIL")
    assert told(run_dir)[:2] == ("lost", 125)


def test_what_slurm_has_forgotten_is_in_its_ranks_records(run_dir: Path, slurm: dict[str, Seen]) -> None:
    left(run_dir, (0, False), (0, False))
    assert told(run_dir) == ("succeeded", 0, None)


@pytest.mark.parametrize(
    ("why", "state", "status"), [("", "cancelled", 143), (" DUE TO TIME LIMIT", "timeout", 124)]
)
def test_what_slurm_has_forgotten_is_in_the_log(
    why: str, state: str, status: int, run_dir: Path, slurm: dict[str, Seen]
) -> None:
    (run_dir / "slurm-7.log").write_text(f"slurmstepd-h: error: *** JOB 7 ON h CANCELLED AT {AT}{why} ***\n")
    left(run_dir, (143, True), srun=143)
    assert told(run_dir)[:2] == (state, status)


def test_ranks_that_were_ended_from_outside_are_no_mystery(run_dir: Path, slurm: dict[str, Seen]) -> None:
    (run_dir / "slurm-7.log").touch()
    left(run_dir, (143, True), srun=143)
    slurm["7"] = says("FAILED", status=143)
    state, status, reason = told(run_dir)
    assert (state, status) == ("failed", 143)
    assert "its ranks were ended from outside; see" in (reason or "")


def test_who_cancelled_is_told(run_dir: Path, slurm: dict[str, Seen]) -> None:
    slurm["7"] = says("CANCELLED")
    (run_dir / "cancel").touch()
    assert told(run_dir) == ("cancelled", 143, "cancelled by its user")


@pytest.fixture
def unnumbered(run_dir: Path) -> Path:
    """A job whose submitter was killed before it wrote the number."""
    known = record.read(run_dir)
    tasks = tuple(replace(task, state="submitting") for task in known.tasks)
    record.write(run_dir, replace(known, state="submitting", scheduler_id=None, tasks=tasks))
    return run_dir


def test_a_lost_number_is_found_by_the_comment(unnumbered: Path, slurm: dict[str, Seen]) -> None:
    slurm["6"] = Seen("6", "RUNNING", None, "", "jobkit:ab")
    slurm["7"] = says("RUNNING")
    assert told(unnumbered)[0] == "running"
    assert record.read(unnumbered).scheduler_id == "7"


def test_a_lost_number_is_found_in_the_name_of_the_log(unnumbered: Path, slurm: dict[str, Seen]) -> None:
    (unnumbered / "slurm-9.log").touch()
    left(unnumbered, (0, False), (0, False), srun=0)
    assert told(unnumbered)[0] == "succeeded"
    assert record.read(unnumbered).scheduler_id == "9"


def test_a_submission_that_was_killed_before_sbatch_is_lost(unnumbered: Path, slurm: dict[str, Seen]) -> None:
    state, status, reason = told(unnumbered)
    assert (state, status) == ("lost", 125)
    assert "was killed before Slurm had it" in (reason or "")


def test_while_sbatch_is_at_work_nothing_is_decided(unnumbered: Path, slurm: dict[str, Seen]) -> None:
    from jobkit.jobs import folder

    lock = folder.hold(unnumbered)
    try:
        assert told(unnumbered) == ("submitting", None, None)
    finally:
        os.close(lock)


def test_secrets_go_with_the_end(run_dir: Path, slurm: dict[str, Seen]) -> None:
    (run_dir / "secrets").write_text('{"TOKEN": "s3cret"}')
    slurm["7"] = says("CANCELLED")
    truth.look(run_dir)
    assert "s3cret" not in (run_dir / "secrets").read_text()


@pytest.fixture
def sweep(run_dir: Path) -> Path:
    """A sweep of two points, of a rank each, that Slurm has under number 7."""
    known = record.read(run_dir)
    points = tuple(TaskRecord(point, {"a": point}, ranks=(RankRecord(0),)) for point in ("0", "1"))
    record.write(run_dir, replace(known, tasks=points))
    for point in ("0", "1"):
        (run_dir / point).mkdir()
    return run_dir


def row(number: str, state: str) -> Seen:
    return replace(says(state), number=number)


def test_each_point_has_its_own_row_and_its_own_records(sweep: Path, slurm: dict[str, Seen]) -> None:
    slurm |= {"7_0": row("7_0", "RUNNING"), "7_1": row("7_1", "PENDING")}
    known = truth.look(sweep)
    assert (known.state, [task.state for task in known.tasks]) == ("running", ["running", "queued"])
    left(sweep / "0", (4, False), srun=4)
    known = truth.look(sweep)
    assert (known.state, [task.state for task in known.tasks]) == ("running", ["failed", "queued"])
    assert record.read(sweep).tasks[0].exit == record.JobExit(4, 0, "h", None, "exit 4")
    slurm["7_1"] = row("7_1", "CANCELLED")
    assert told(sweep) == ("failed", 4, "point 0")
    assert record.read(sweep).state == "failed"


def test_points_that_have_ended_are_told_without_slurm(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "every", _unanswered)
    left(sweep / "0", (0, False), srun=0)
    known = truth.look(sweep)
    assert [task.state for task in known.tasks] == ["succeeded", "queued"]
    assert "Slurm cannot be asked" in (known.reason or "")
    left(sweep / "1", (0, False), srun=0)
    assert told(sweep) == ("succeeded", 0, None)


def test_a_point_that_nobody_knows_is_not_written_down_as_lost(sweep: Path, slurm: dict[str, Seen]) -> None:
    left(sweep / "0", (0, False), srun=0)
    assert [task.state for task in truth.look(sweep).tasks] == ["succeeded", "lost"]
    assert [task.state for task in record.read(sweep).tasks] == ["succeeded", "queued"]


def test_a_waiting_point_that_has_left_its_array_was_cancelled(sweep: Path, slurm: dict[str, Seen]) -> None:
    slurm["7_0"] = row("7_0", "RUNNING")
    assert [(task.state, task.reason) for task in truth.look(sweep).tasks] == [
        ("running", None),
        ("cancelled", "cancelled in Slurm"),
    ]
    slurm.clear()
    (sweep / "0" / "attempt-1").mkdir()  # of what has run, only its records tell the end
    assert [task.state for task in truth.look(sweep).tasks] == ["lost", "cancelled"]


def test_a_request_for_a_point_is_its_users(sweep: Path, slurm: dict[str, Seen]) -> None:
    (sweep / "1" / "cancel").touch()
    slurm |= {"7_0": row("7_0", "CANCELLED"), "7_1": row("7_1", "CANCELLED")}
    reasons = [task.reason for task in truth.look(sweep).tasks]
    assert reasons == ["cancelled in Slurm", "cancelled by its user"]


def test_the_lost_number_of_a_sweep_is_found(sweep: Path, slurm: dict[str, Seen]) -> None:
    record.write(sweep, replace(record.read(sweep), scheduler_id=None))
    slurm |= {f"7_{i}": row(f"7_{i}", "PENDING") for i in range(2)}
    assert truth.look(sweep).scheduler_id == "7"
    slurm.clear()
    record.write(sweep, replace(record.read(sweep), scheduler_id=None))
    (sweep / "1" / "slurm-9_1.log").touch()
    assert truth.look(sweep).scheduler_id == "9"


def followed(run_dir: Path, kind: str, *, again: bool = True, status: int = 143) -> None:
    """Let the first attempt have ended for a reason."""
    epilogue.write(run_dir / "attempt-1", BatchExit(143, status, AT, kind=kind, again=again))


def test_what_waits_for_its_next_attempt_says_why(run_dir: Path, slurm: dict[str, Seen]) -> None:
    left(run_dir, (143, True), (143, True))
    followed(run_dir, "preempted")
    slurm["7"] = says("COMPLETING")
    assert told(run_dir) == ("requeued", None, "preempted")
    slurm["7"] = says("PENDING", reason="BeginTime", start="2026-11-22T10:02:00.000000Z")
    state, status, reason = told(run_dir)
    assert (state, status) == ("requeued", None)
    assert (reason or "").startswith("preempted; waiting for")
    assert (reason or "").endswith("expected to start 2026-11-22T10:02:00Z")


def test_the_rank_that_failed_is_why_another_attempt_follows(run_dir: Path, slurm: dict[str, Seen]) -> None:
    left(run_dir, (0, False), (7, False))
    followed(run_dir, "failed")
    slurm["7"] = says("PENDING", reason="BeginTime")
    assert (told(run_dir)[2] or "").startswith("rank 1 on h: exit 7; ")


def test_the_good_end_of_an_attempt_that_another_follows_is_not_the_jobs(
    run_dir: Path, slurm: dict[str, Seen]
) -> None:
    left(run_dir, (0, False), (0, False), srun=0)
    followed(run_dir, "preempted")
    slurm["7"] = says("RUNNING")
    assert told(run_dir)[0] == "requeued"
    slurm.clear()
    assert told(run_dir)[0] == "lost"


def test_a_job_that_is_cancelled_before_its_next_attempt_is_cancelled(
    run_dir: Path, slurm: dict[str, Seen]
) -> None:
    left(run_dir, (7, False), (143, True))
    followed(run_dir, "failed")
    slurm["7"] = says("CANCELLED")
    assert told(run_dir)[:2] == ("cancelled", 143)


@pytest.mark.parametrize(
    ("kind", "state", "status"), [("preempted", "preempted", 143), ("node_failure", "lost", 125)]
)
def test_retries_that_are_spent_are_told_without_asking_slurm(
    kind: str, state: str, status: int, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "every", _unanswered)
    left(run_dir, (143, True), (7, False))
    followed(run_dir, kind, again=False, status=status)
    assert told(run_dir)[:2] == (state, status)


@pytest.mark.parametrize(("reason", "state"), [("Priority", "queued"), ("BeginTime", "requeued")])
def test_an_answer_from_before_the_start_is_no_requeue(
    reason: str, state: str, run_dir: Path, slurm: dict[str, Seen]
) -> None:
    (run_dir / "attempt-1").mkdir()
    slurm["7"] = says("PENDING", reason=reason)
    known = truth.look(run_dir)
    assert (known.state, known.attempt) == (state, int(state == "requeued"))
