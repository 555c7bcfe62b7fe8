from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from jobkit.env import handover
from jobkit.errors import LaunchError

HERE = str(Path(sys.executable).parent)


def written(folder: Path, name: str, value: object) -> str:
    (folder / name).write_text(json.dumps(value))
    return str(folder)


def test_what_was_written_comes_over_what_is_inherited(tmp_path: Path) -> None:
    run_dir = written(tmp_path, "environ.json", {"A": "1,'\n", "B": "2", "JOBKIT_JOB": "a"})
    written(tmp_path, "secrets", {"C": "3"})
    got = handover.taken({"A": "0", "D": "4", "PATH": "/bin"}, run_dir)
    assert got == {
        "A": "1,'\n", "B": "2", "C": "3", "D": "4", "PATH": f"{HERE}:/bin", "PYTHONUNBUFFERED": "1",
        "JOBKIT_JOB": "a", "JOBKIT_RUN_DIR": run_dir,
    }  # fmt: skip


def test_a_point_has_its_own_variables_name_and_folder(tmp_path: Path) -> None:
    run_dir = written(tmp_path, "environ.json", {"A": "1", "JOBKIT_JOB": "a"})
    for point in ("0", "1"):
        (tmp_path / point).mkdir()
    written(tmp_path / "1", "environ.json", {"A": "2"})
    got = [handover.taken({}, run_dir, point) for point in ("0", "1")]
    assert [(one["A"], one["JOBKIT_JOB"], one["JOBKIT_RUN_DIR"]) for one in got] == [
        ("1", "a/0", f"{run_dir}/0"),
        ("2", "a/1", f"{run_dir}/1"),
    ]


def test_a_folder_that_comes_first_already_is_not_added(tmp_path: Path) -> None:
    run_dir = written(tmp_path, "environ.json", {"PATH": f"{HERE}:/bin"})
    assert handover.taken({"PATH": "/usr/bin"}, run_dir)["PATH"] == f"{HERE}:/bin"


def test_a_buffered_python_stays_what_the_user_wants(tmp_path: Path) -> None:
    run_dir = written(tmp_path, "environ.json", {})
    assert handover.taken({"PYTHONUNBUFFERED": ""}, run_dir)["PYTHONUNBUFFERED"] == ""


def test_what_setup_changed_comes_over_what_is_inherited_and_below_the_spec(tmp_path: Path) -> None:
    run_dir = written(tmp_path, "environ.json", {"A": "spec", "JOBKIT_JOB": "a"})
    (tmp_path / "attempt-2").mkdir()
    changed = {"set": {"A": "setup", "B": "setup"}, "unset": ["C"]}
    written(tmp_path / "attempt-2", "setup-n1.json", changed)
    around = {"B": "0", "C": "0", "JOBKIT_ATTEMPT": "2", "SLURMD_NODENAME": "n1"}
    got = handover.taken(around, run_dir)
    assert (got["A"], got["B"], got.get("C")) == ("spec", "setup", None)
    assert handover.taken({**around, "JOBKIT_ATTEMPT": "1"}, run_dir)["B"] == "0"


def test_bytes_that_are_no_utf_8_survive(tmp_path: Path) -> None:
    run_dir = written(tmp_path, "environ.json", {"A": os.fsdecode(b"\xff")})
    assert os.fsencode(handover.taken({}, run_dir)["A"]) == b"\xff"


def test_a_run_folder_that_this_host_does_not_see_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"(?s)cannot be read on .*hint: set run_dir"):
        handover.taken({}, str(tmp_path / "gone"))


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_damaged_file_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "environ.json").write_text(text)
    with pytest.raises(LaunchError, match=r"environ\.json: not what was written there"):
        handover.taken({}, str(tmp_path))


def test_secrets_that_were_erased_are_not_left_out_in_silence(tmp_path: Path) -> None:
    written(tmp_path, "environ.json", {})
    with pytest.raises(LaunchError, match="erased, since the job has ended, got 'TOKEN'"):
        handover.taken({}, written(tmp_path, "secrets", {"TOKEN": None}))
