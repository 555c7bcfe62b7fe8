from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobkit.errors import SpecError, SubmitError
from jobkit.executors import local
from jobkit.jobs import create, folder, record
from jobkit.jobs.record import Origin
from jobkit.jobs.submission import Submission
from jobkit.plan import plan
from jobkit.spec import parse


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., tuple[Submission, dict[str, str]]]:
    def make(text: str = "run: 'true'\n", **environ: str) -> tuple[Submission, dict[str, str]]:
        around = {"JOBKIT_HOME": str(tmp_path / "home"), **environ}
        made = plan(parse(text, "a.yaml", around), cwd=str(tmp_path / "work"))
        return local.prepare(made, "a", text, around), around

    return make


Prepare = Callable[..., tuple[Submission, dict[str, str]]]


def test_what_is_staged_is_what_was_prepared(prepare: Prepare, origin: Origin) -> None:
    submission, around = prepare("run: 'true'\nsecrets: [TOKEN]\nsweep: {a: [1, 2]}\n", TOKEN="s3cret")
    staged, lock = create.stage(submission, around, origin)
    for file in submission.files:
        path = staged / file.path
        assert path.stat().st_mode & 0o777 == file.mode
        assert path.read_text() == (file.text if file.text is not None else '{\n "TOKEN": "s3cret"\n}\n')
    known = record.read(staged)
    assert (known.state, [task.point for task in known.tasks]) == ("submitting", ["0", "1"])
    assert json.loads((staged / "submission" / "submission.json").read_text())["id"] == "a"
    assert "s3cret" not in (staged / "submission" / "submission.json").read_text()
    assert folder.is_held(staged)
    os.close(lock)


@pytest.mark.parametrize("text", ["run_dir: runs\n", ""])
def test_an_id_that_is_taken_is_refused_before_anything_is_written(
    text: str, prepare: Prepare, origin: Origin, tmp_path: Path
) -> None:
    submission, around = prepare(f"run: 'true'\n{text}")
    Path(submission.run_dir).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SpecError, match="a job of this id exists, got 'a'"):
        create.stage(submission, around, origin)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_secret_is_refused_before_anything_is_written(
    prepare: Prepare, origin: Origin, tmp_path: Path
) -> None:
    submission, around = prepare("run: 'true'\nsecrets: [TOKEN]\n", TOKEN="s3cret")
    del around["TOKEN"]
    with pytest.raises(SpecError, match="secrets: not set"):
        create.stage(submission, around, origin)
    assert not list(tmp_path.iterdir())


def test_a_failure_half_way_leaves_nothing(prepare: Prepare, origin: Origin, tmp_path: Path) -> None:
    submission, around = prepare("run: 'true'\nsnapshot: true\nworkdir: nowhere\n")
    with pytest.raises(SubmitError, match="snapshot"):
        create.stage(submission, around, origin)
    assert not list((tmp_path / "home" / "jobs").iterdir())


def test_a_place_that_cannot_be_written_is_told(prepare: Prepare, origin: Origin, tmp_path: Path) -> None:
    submission, around = prepare()
    (tmp_path / "home").write_text("in the way")
    with pytest.raises(SubmitError, match=r"run_dir: .* cannot be written: "):
        create.stage(submission, around, origin)


def test_two_submissions_of_one_id_become_one_job(prepare: Prepare, origin: Origin, tmp_path: Path) -> None:
    submission, around = prepare()
    both = [create.stage(submission, around, origin) for _ in range(2)]
    assert create.publish(both[0][0], submission, around) == tmp_path / "home" / "jobs" / "a"
    with pytest.raises(SpecError, match="a job of this id exists"):
        create.publish(both[1][0], submission, around)
    create.discard(both[1][0])
    for _, lock in both:
        os.close(lock)
    assert [path.name for path in (tmp_path / "home" / "jobs").iterdir()] == ["a"]


def test_a_snapshot_has_no_run_folders_in_it(prepare: Prepare, origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "work" / "runs" / "old").mkdir(parents=True)
    (tmp_path / "work" / "program").touch()
    submission, around = prepare("run: 'true'\nsnapshot: true\nrun_dir: runs\n")
    staged, lock = create.stage(submission, around, origin)
    os.close(lock)
    assert [path.name for path in (staged / "snapshot").iterdir()] == ["program"]


def test_a_home_inside_the_workdir_is_not_copied_either(
    prepare: Prepare, origin: Origin, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    submission, around = prepare("run: 'true'\nsnapshot: true\n", JOBKIT_HOME=str(work / "home"))
    staged, lock = create.stage(replace(submission), around, origin)
    os.close(lock)
    assert [path.name for path in (staged / "snapshot").iterdir()] == ["home"]
    assert not list((staged / "snapshot" / "home").iterdir())
