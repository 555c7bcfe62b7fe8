"""Jobs of the templates among the others: found by name and number, gone with `jobkit clean`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobkit.env import presence
from jobkit.env.translate import Identity
from jobkit.jobs import find, truth
from jobkit.slurm import enlist


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "work" / ".jobkit" / "12"
    folder.mkdir(parents=True)
    return folder


def test_a_job_is_found_by_its_number(run_dir: Path, jobkit_home: Path) -> None:
    assert enlist.main([str(run_dir)]) == 0
    place = presence.take(Identity("slurm-12.0", 1, str(run_dir), "rank-0.gang"), 0)
    found = find.one("slurm:12", os.environ)
    assert (found.id, found.folder) == ("slurm-12", run_dir)
    assert truth.look(found.folder).id == "slurm-12"
    os.close(place)


def test_an_older_job_of_the_same_number_makes_room(run_dir: Path, jobkit_home: Path, tmp_path: Path) -> None:
    older = tmp_path / "older" / ".jobkit" / "12"
    older.mkdir(parents=True)
    for folder in (older, run_dir):
        assert enlist.main([str(folder)]) == 0
    assert (jobkit_home / "jobs" / "slurm-12").resolve() == run_dir


def test_a_home_that_cannot_be_written_does_not_stop_the_job(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("JOBKIT_HOME", str(tmp_path / "file"))
    assert enlist.main([str(run_dir)]) == 0
    assert "`jobkit list` will not show this job" in capsys.readouterr().err
