from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobkit.jobs import folder, process, record, truth
from jobkit.jobs.process import Identity
from jobkit.jobs.record import RankRecord, Record, TaskRecord

Make = Callable[..., Record]
DEAD = Identity(2**22 - 1, "1", process.boot_id(), "h")


@pytest.fixture
def held(tmp_path: Path) -> Iterator[int]:
    lock = folder.hold(tmp_path)
    yield lock
    os.close(lock)


def write_exit(run_dir: Path, rank: int, status: int, order: int, **changes: object) -> None:
    path = folder.output(run_dir, 1, rank, "exit.json")
    path.parent.mkdir(exist_ok=True, parents=True)
    raw = {
        "schema": 1, "rank": rank, "host": "h", "status": status, "signal": None, "ended_by_jobkit": False,
        "victim_of": None, "reason": "exit", "started": "2026-11-22T10:15:31Z",
        "ended": f"2026-11-22T10:15:3{order}Z", "order": order,
    }  # fmt: skip
    path.write_text(json.dumps({**raw, **changes}))


def running(make_record: Make, **changes: object) -> Record:
    ranks = (RankRecord(0, "h", 1), RankRecord(1, "h", 2))
    task = TaskRecord(None, state="running", attempt=1, ranks=ranks)
    return make_record(**{"state": "running", "tasks": (task,), "keeper": DEAD, **changes})


def test_while_the_folder_is_held_the_record_is_the_truth(
    held: int, tmp_path: Path, make_record: Make
) -> None:
    record.write(tmp_path, running(make_record))
    assert truth.look(tmp_path) == running(make_record)


def test_a_job_that_has_ended_is_what_its_record_says(tmp_path: Path, make_record: Make) -> None:
    done = running(make_record, state="succeeded")
    record.write(tmp_path, done)
    assert truth.look(tmp_path) == done


def test_a_job_whose_keeper_is_gone_is_lost(tmp_path: Path, make_record: Make) -> None:
    record.write(tmp_path, running(make_record))
    known = truth.look(tmp_path)
    assert (known.state, known.exit and known.exit.status) == ("lost", 125)
    assert known.reason == f"its keeper (process {DEAD.pid} on h) was killed"
    assert record.read(tmp_path).state == "running", "looking writes nothing"


def test_a_submission_that_was_killed_is_lost(tmp_path: Path, make_record: Make) -> None:
    record.write(tmp_path, make_record())
    known = truth.look(tmp_path)
    assert known.state == "lost"
    assert "its submission" in str(known.reason)


def test_a_machine_that_was_restarted_is_told(tmp_path: Path, make_record: Make) -> None:
    import socket

    before = replace(DEAD, boot_id="before", host=socket.gethostname())
    record.write(tmp_path, running(make_record, keeper=before))
    known = truth.look(tmp_path)
    assert known.state == "lost"
    assert known.reason == f"{before.host} was restarted while the job ran"


def test_a_job_on_another_machine_is_as_last_written(tmp_path: Path, make_record: Make) -> None:
    elsewhere = replace(DEAD, boot_id="another", host="elsewhere")
    record.write(tmp_path, running(make_record, keeper=elsewhere))
    known = truth.look(tmp_path)
    assert known.state == "running"
    assert known.reason == "as last written on elsewhere, which cannot be seen from here"


def test_while_what_it_started_is_being_ended_a_job_has_not_ended(tmp_path: Path, make_record: Make) -> None:
    agent = process.identify(os.getpid())
    task = TaskRecord(None, state="running", attempt=1, agent=agent)
    record.write(tmp_path, running(make_record, tasks=(task,)))
    assert truth.look(tmp_path).state == "running"
    assert "being ended" in str(truth.look(tmp_path).reason)


def test_ranks_that_all_succeeded_make_a_job_that_succeeded(tmp_path: Path, make_record: Make) -> None:
    record.write(tmp_path, running(make_record))
    write_exit(tmp_path, 0, 0, 1)
    write_exit(tmp_path, 1, 0, 2)
    known = truth.look(tmp_path)
    assert (known.state, known.reason, known.exit) == ("succeeded", None, record.JobExit(0))
    assert [rank.status for rank in known.tasks[0].ranks] == [0, 0]
    assert known.ended == "2026-11-22T10:15:32.000000Z"


def test_the_rank_that_failed_first_decides(tmp_path: Path, make_record: Make) -> None:
    record.write(tmp_path, running(make_record))
    write_exit(tmp_path, 0, 137, 2, signal="SIGKILL")
    write_exit(tmp_path, 1, 7, 1)
    known = truth.look(tmp_path)
    assert known.exit == record.JobExit(7, 1, "h", None, "exit 7")
    assert known.state == "failed"


def test_a_rank_that_names_another_culprit_does_not_decide(tmp_path: Path, make_record: Make) -> None:
    record.write(tmp_path, running(make_record))
    write_exit(tmp_path, 0, 1, 1, victim_of=1)
    write_exit(tmp_path, 1, 7, 2)
    known = truth.look(tmp_path)
    assert known.exit is not None
    assert known.exit.status == 7


def test_ranks_that_were_ended_with_the_keeper_say_nothing(tmp_path: Path, make_record: Make) -> None:
    record.write(tmp_path, running(make_record))
    write_exit(tmp_path, 0, 0, 1)
    write_exit(tmp_path, 1, 143, 2, signal="SIGTERM", ended_by_jobkit=True)
    assert truth.look(tmp_path).state == "lost"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}'])
def test_an_exit_record_that_is_none_says_nothing(text: str, tmp_path: Path, make_record: Make) -> None:
    record.write(tmp_path, running(make_record))
    write_exit(tmp_path, 0, 0, 1)
    write_exit(tmp_path, 1, 0, 2)
    folder.output(tmp_path, 1, 1, "exit.json").write_text(text)
    assert truth.look(tmp_path).state == "lost"


def test_points_that_ended_stay_as_they_are(tmp_path: Path, make_record: Make) -> None:
    done = TaskRecord("0", state="succeeded", exit=record.JobExit(0))
    record.write(tmp_path, running(make_record, tasks=(done, TaskRecord("1", state="queued"))))
    known = truth.look(tmp_path)
    assert [task.state for task in known.tasks] == ["succeeded", "lost"]
    assert known.state == "lost"


def test_where_locks_do_not_work_the_processes_are_looked_for(
    tmp_path: Path, make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "is_held", lambda _: None)
    me = process.identify(os.getpid())
    assert truth.is_kept(tmp_path, running(make_record, keeper=me))
    nobody = running(make_record)
    nobody = replace(nobody, origin=replace(nobody.origin, submitter=DEAD))
    assert not truth.is_kept(tmp_path, nobody)
