from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobkit.errors import SubmitError
from jobkit.jobs import cancel, clock, find, folder, process, truth
from jobkit.jobs.record import Origin, RankRecord, Record, TaskRecord, read, write
from jobkit.remote import connection, login, mirror, session

ME = process.identify(os.getpid())
HERE = Origin(("jobkit",), "/here", "a.yaml", None, None, (), (), "0", None, ME)
THERE = replace(HERE, cwd="/there")


def made(run_dir: Path, state: str, origin: Origin = HERE, **changes: Any) -> Record:
    """Write a record of two ranks; it ran locally there, which needs no Slurm."""
    run_dir.mkdir(parents=True)
    task = TaskRecord(None, state=state, attempt=1, ranks=(RankRecord(0), RankRecord(1)))
    known = Record("a", "a", "local", state, clock.rfc3339(clock.now()), (task,), origin, **changes)
    assert write(run_dir, known)
    return known


@pytest.fixture
def here(machine, jobkit_home: Path) -> Path:
    """A job's folder here."""
    run_dir = jobkit_home / "jobs" / "a"
    made(run_dir, "queued", scheduler_id="7")
    (run_dir / "remote.json").write_text(login.dumps(login.Login("there", sys.executable, "/tree")))
    return run_dir


@pytest.fixture
def there(machine) -> Path:
    """The same job's folder on the login node, with what its ranks have written."""
    run_dir = machine.home / "jobs" / "a"
    made(run_dir, "succeeded", THERE)
    (run_dir / "attempt-1").mkdir()
    (run_dir / "attempt-1" / "rank-0.out").write_bytes(b"0\n" * 4)
    (run_dir / "attempt-1" / "rank-1.err").write_bytes(b"1\n")
    (run_dir / "secrets").write_text("kept there")
    return run_dir


def test_status_and_output_come_back_and_the_origin_stays(here: Path, there: Path) -> None:
    known = truth.look(here)
    assert (known.state, known.origin.cwd) == ("succeeded", "/here")
    assert read(here) == known
    found = {str(path.relative_to(here)): path.read_bytes() for path in here.glob("attempt-*/*")}
    assert found == {"attempt-1/rank-0.out": b"0\n" * 4, "attempt-1/rank-1.err": b"1\n"}
    assert not (here / "secrets").exists()


def test_only_what_is_missing_comes(here: Path, there: Path) -> None:
    (here / "attempt-1").mkdir()
    (here / "attempt-1" / "rank-0.out").write_bytes(b"x\n")
    truth.look(here)
    assert (here / "attempt-1" / "rank-0.out").read_bytes() == b"x\n0\n0\n0\n"


def test_more_output_than_one_answer_carries_is_there_at_the_end(here: Path, there: Path) -> None:
    data = os.urandom(1 << 20) * 20
    (there / "attempt-1" / "rank-0.out").write_bytes(data)
    assert truth.look(here).state == "succeeded"
    assert (here / "attempt-1" / "rank-0.out").read_bytes() == data


def test_without_asking_it_is_as_last_known(here: Path, there: Path, machine) -> None:
    assert truth.look(here, ask=False).state == "queued"
    assert machine.channels == []


def test_a_login_node_that_cannot_be_reached_is_told_once_and_asked_again_later(
    here: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def refuse(*words: str) -> None:
        tries.append(words)
        raise connection.LostError("there: cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "start", refuse)
        looks = [truth.look(here) for _ in range(5)]
    assert {(known.state, known.reason) for known in looks} == {
        ("queued", "as last known, since there: cannot be reached")
    }
    assert len(tries) == 1
    assert read(here).reason is None
    monkeypatch.setattr(mirror.time, "monotonic", lambda: mirror._last[here].until + 1)
    assert truth.look(here).state == "succeeded"


def test_a_record_that_is_gone_there_is_lost_but_not_for_good(here: Path, machine) -> None:
    known = truth.look(here)
    assert (known.state, known.exit.status) == ("lost", 125)
    assert "there has no record of it any more; it was queued" in known.reason
    assert read(here).state == "queued"


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "record.json", "attempt-1/../secrets", "secrets"])
def test_a_login_node_cannot_write_what_it_likes(
    here: Path, machine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    answer = {"record": "", "files": [[name, 0, 1]], "more": False}
    monkeypatch.setattr(session.Session, "ask", lambda *_: (answer, b"x"))
    with pytest.raises(SubmitError, match="a file that is none of the job's"):
        truth.look(here)


def test_records_of_another_kind_are_told(here: Path, machine, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"record": '{"schema": 99, "state": "queued"}', "files": [], "more": False}
    monkeypatch.setattr(session.Session, "ask", lambda *_: (answer, b""))
    with pytest.raises(SubmitError, match="writes records that this version does not read"):
        truth.look(here)


def test_cancel_is_passed_on(here: Path, machine) -> None:
    made(machine.home / "jobs" / "a", "running", THERE)
    lock = folder.hold(machine.home / "jobs" / "a")  # its keeper lives
    assert cancel.request(find.one("a", os.environ)).id == "a"
    os.close(lock)
    assert (machine.home / "jobs" / "a" / "cancel").exists()
