from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobkit.cli import sending
from jobkit.errors import SpecError

WISH = sending.Wish("a.yaml", "run: 'true'\nbackend: none\n", "/project")


def test_complaints_about_several_specs_come_at_once() -> None:
    wishes = [
        sending.Wish("a.yaml", "ranks: -1\nrun: x\n", "/project"),
        WISH,
        sending.Wish("b.yaml", "rnu: x\n", "/project"),
    ]
    with pytest.raises(SpecError) as caught:
        sending.all_planned(wishes, {})
    assert "a.yaml:1: ranks" in str(caught.value)
    assert "b.yaml:1: rnu" in str(caught.value)


def test_every_job_gets_an_id_of_its_own(tmp_path: Path) -> None:
    environ = {"JOBKIT_HOME": str(tmp_path)}
    plan = sending.planned(WISH, environ)
    ids = {sending.prepared(WISH, plan, None, environ).job_id for _ in range(20)}
    assert len(ids) == 20


def test_preparing_touches_nothing(tmp_path: Path) -> None:
    environ = {"JOBKIT_HOME": str(tmp_path / "home")}
    submission = sending.prepared(WISH, sending.planned(WISH, environ), "a", environ)
    assert sending.announced(submission).folder == tmp_path / "home" / "jobs" / "a"
    assert not list(tmp_path.iterdir())


def test_relative_paths_start_where_the_wish_says() -> None:
    assert sending.planned(WISH, os.environ).workdir == "/project"
