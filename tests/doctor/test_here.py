"""Checks of this machine: homes that cannot be written or that others read, an engine that does not load."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobkit.doctor import here
from jobkit.doctor.row import FAILS, OK, WARNING


def test_a_good_home_is_made_and_left_as_it_was(jobkit_home: Path) -> None:
    assert here.folder(os.environ).state == OK
    assert list((jobkit_home / "jobs").iterdir()) == []


def test_a_home_that_is_a_file_fails(jobkit_home: Path) -> None:
    jobkit_home.touch()
    row = here.folder(os.environ)
    assert (row.state, row.remedy) == (FAILS, "set JOBKIT_HOME to a folder of yours")


def test_a_home_that_others_read_is_a_warning(jobkit_home: Path) -> None:
    jobkit_home.mkdir()
    jobkit_home.chmod(0o755)
    row = here.folder(os.environ)
    assert (row.state, row.remedy) == (WARNING, f"chmod 700 {jobkit_home}")


def test_a_file_system_that_keeps_no_modes_fails(jobkit_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here, "_is_private", lambda _: False)
    assert here.folder(os.environ).state == FAILS


def test_an_engine_that_does_not_load_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert here.engine().state == OK
    monkeypatch.setattr(here, "_CORE", "jobkit.native.no_such_module")
    assert here.engine().state == FAILS


def test_mlx_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise here.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(here.metadata, "version", missing)
    assert here.mlx().state == WARNING
