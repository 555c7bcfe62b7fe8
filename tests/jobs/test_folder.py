from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobkit.errors import SpecError
from jobkit.jobs import folder


def test_a_staged_folder_is_private_and_hidden_until_it_is_published(tmp_path: Path) -> None:
    staged = folder.stage(tmp_path / "jobs" / "a")
    assert staged.stat().st_mode & 0o777 == 0o700
    assert staged.name.startswith(".")
    folder.publish(staged, tmp_path / "jobs" / "a", tmp_path / "jobs" / "a")
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == ["a"]


def test_a_job_that_lies_elsewhere_has_a_link_among_the_jobs(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    staged = folder.stage(tmp_path / "runs" / "a")
    folder.publish(staged, tmp_path / "runs" / "a", tmp_path / "jobs" / "a")
    assert (tmp_path / "jobs" / "a").readlink() == tmp_path / "runs" / "a"


@pytest.mark.parametrize("where", ["runs", "jobs"])
def test_an_id_that_was_taken_meanwhile_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "jobs").mkdir()
    staged = folder.stage(tmp_path / "runs" / "a")
    (staged / "record.json").touch()
    (tmp_path / where / "a").mkdir(parents=True)
    (tmp_path / where / "a" / "record.json").touch()
    with pytest.raises(SpecError, match="a job of this id exists, got 'a'"):
        folder.publish(staged, tmp_path / "runs" / "a", tmp_path / "jobs" / "a")
    assert (tmp_path / where / "a" / "record.json").exists()
    other = "jobs" if where == "runs" else "runs"
    assert not (tmp_path / other / "a").exists()


def test_a_folder_is_held_while_any_copy_of_the_descriptor_is_open(tmp_path: Path) -> None:
    lock = folder.hold(tmp_path)
    assert folder.is_held(tmp_path) is True
    heir = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[lock])
    os.close(lock)
    assert folder.is_held(tmp_path) is True
    heir.communicate()
    assert folder.is_held(tmp_path) is False


def test_two_who_look_at_once_do_not_take_each_other_for_the_holder(tmp_path: Path) -> None:
    os.close(folder.hold(tmp_path))
    look = (
        "import sys; from pathlib import Path; from jobkit.jobs import folder\n"
        "print(any(folder.is_held(Path(sys.argv[1])) for _ in range(3000)))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", look, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [one.communicate()[0] for one in both] == [b"False\n", b"False\n"]


def test_a_folder_without_a_lock_is_held_by_nobody(tmp_path: Path) -> None:
    assert folder.is_held(tmp_path) is False


def test_removal_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    folder.remove(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_leftovers_are_hidden_folders_that_nobody_holds(tmp_path: Path) -> None:
    left, busy = folder.stage(tmp_path / "a"), folder.stage(tmp_path / "b")
    lock = folder.hold(busy)
    assert folder.leftovers(tmp_path) == [left]
    os.close(lock)
    assert sorted(folder.leftovers(tmp_path)) == sorted([left, busy])


def test_a_point_of_a_sweep_has_a_folder_of_its_own() -> None:
    run_dir = Path("/j/a")
    assert folder.task_folder(run_dir, None) == run_dir
    assert folder.output(folder.task_folder(run_dir, "3"), 2, 1, "err") == run_dir / "3/attempt-2/rank-1.err"


def test_points_and_attempts_are_found_by_their_folders(tmp_path: Path) -> None:
    for name in ("0/attempt-2", "0/attempt-10", "0/attempt-x", "1", "submission"):
        (tmp_path / name).mkdir(parents=True)
    assert {path.name for path in folder.points(tmp_path)} == {"0", "1"}
    assert [folder.latest_attempt(tmp_path / point) for point in ("0", "1")] == [10, 0]
