from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobkit.errors import SpecError, SubmitError
from jobkit.remote import sync
from jobkit.remote.session import Session


def ask(talk: Session, tree: str | None = None, token: str = "t", workdir: str = "/") -> Any:
    head = {"ask": "place", "id": "a", "token": token, "tree": tree, "inside": "sub", "workdir": workdir}
    return talk.ask(head)[0]


def test_a_job_gets_a_folder_with_what_was_sent_and_no_more(machine, tree: Path, jobkit_home: Path) -> None:
    (tree / "sub").mkdir()
    (tree / "sub" / "file").write_text("sent")
    (tree / "link").symlink_to("sub/file")
    environ = {"JOBKIT_HOME": str(jobkit_home)}
    talk = machine.session()
    copy = Path(sync.send(talk, tree, environ, lambda _: None))
    (copy / "of another job").touch()
    made = ask(talk, copy.name)
    run_dir = Path(made["run_dir"])
    assert made["workdir"] == f"{run_dir}/tree/sub"
    assert run_dir.stat().st_mode & 0o777 == 0o700
    found = {str(path.relative_to(run_dir / "tree")) for path in (run_dir / "tree").rglob("*")}
    assert found == {"sub", "sub/file", "link"}
    assert (run_dir / "tree" / "link").read_text() == "sent"
    assert ask(talk, copy.name) == made  # asked for once more by the same submission


def test_an_id_that_another_submission_has_is_refused_and_left_alone(machine) -> None:
    talk = machine.session()
    made = ask(talk)
    with pytest.raises(SpecError, match="a job of this id exists there, got 'a'"):
        ask(talk, token="other")
    talk.ask({"ask": "forget", "id": "a", "token": "other"})
    assert Path(made["run_dir"]).exists()
    talk.ask({"ask": "forget", "id": "a", "token": "t"})
    assert not Path(made["run_dir"]).exists()
    talk.ask({"ask": "forget", "id": "a", "token": "t"})


def test_a_workdir_that_is_not_there_is_told(machine, tmp_path: Path) -> None:
    talk = machine.session()
    with pytest.raises(SubmitError, match="there: workdir /no/such: is not there"):
        ask(talk, workdir="/no/such")
    (tmp_path / "file").touch()
    with pytest.raises(SubmitError, match="cannot be entered there"):
        ask(talk, workdir=str(tmp_path / "file"))
    assert ask(talk, workdir=f"{tmp_path}/a/..")["workdir"] == str(tmp_path)


def test_a_folder_that_cannot_be_written_is_told(machine) -> None:
    (machine.home / "runs").mkdir()
    (machine.home / "trees").mkdir()
    with pytest.raises(SubmitError, match="cannot be written: No such file"):
        ask(machine.session(), "gone")
    assert [path.name for path in (machine.home / "runs").iterdir()] == [".lock"]
