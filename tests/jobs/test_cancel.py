from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobkit.errors import SubmitError
from jobkit.jobs import cancel, folder, process, record
from jobkit.jobs.find import Found
from jobkit.jobs.record import Record, TaskRecord

Make = Callable[..., Record]


def test_a_request_is_left_and_the_keeper_is_woken(tmp_path: Path, make_record: Make) -> None:
    lock = folder.hold(tmp_path)
    stand_in = subprocess.Popen(["sleep", "60"])
    try:
        record.write(tmp_path, make_record(state="running", keeper=process.identify(stand_in.pid)))
        cancel.request(Found("a", tmp_path))
        assert (tmp_path / "cancel").exists()
        assert stand_in.wait() == -signal.SIGUSR1
    finally:
        stand_in.kill()
        stand_in.wait()
        os.close(lock)


def test_a_process_that_took_over_the_keepers_id_is_left_alone(tmp_path: Path, make_record: Make) -> None:
    lock = folder.hold(tmp_path)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        who = process.identify(stranger.pid)
        assert who is not None
        record.write(tmp_path, make_record(state="running", keeper=replace(who, start="1")))
        cancel.request(Found("a", tmp_path))
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        os.close(lock)


def test_a_job_that_has_ended_gets_no_request(tmp_path: Path, make_record: Make) -> None:
    record.write(tmp_path, make_record(state="succeeded"))
    assert cancel.request(Found("a", tmp_path)).state == "succeeded"
    assert not (tmp_path / "cancel").exists()


def test_what_its_scheduler_does_not_know_here_is_not_taken_for_ended(
    tmp_path: Path, make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.write(tmp_path, make_record(state="running", executor="slurm", scheduler_id="7"))
    seen = make_record(state="lost", executor="slurm", scheduler_id="7", reason="not known")
    monkeypatch.setattr(cancel.watch, "look", lambda _: seen)
    with pytest.raises(SubmitError, match="not cancelled: not known"):
        cancel.request(Found("a", tmp_path))


def test_a_point_gets_a_request_of_its_own(tmp_path: Path, make_record: Make) -> None:
    lock = folder.hold(tmp_path)
    (tmp_path / "1").mkdir()
    record.write(tmp_path, make_record(tasks=(TaskRecord("0"), TaskRecord("1"))))
    cancel.request(Found("a", tmp_path, "1"))
    os.close(lock)
    assert (tmp_path / "1" / "cancel").exists()
    assert not (tmp_path / "cancel").exists()
