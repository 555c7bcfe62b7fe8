from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.remote.there import jobs
from jobkit.remote.there.frames import RefusedError


def claimed(job_id: str, token: str) -> bool:
    with jobs._claimed(job_id, token) as is_there:
        return is_there


def test_an_id_belongs_to_one_submission(jobkit_home: Path) -> None:
    assert claimed("a", "mine") is False
    assert claimed("a", "mine") is False
    (jobkit_home / "jobs" / "a").mkdir(parents=True)
    assert claimed("a", "mine") is True
    with pytest.raises(RefusedError, match="a job of this id exists") as refused:
        claimed("a", "another's")
    assert refused.value.exit_status == 2


def test_a_job_that_is_there_without_a_submission_is_somebodys(jobkit_home: Path) -> None:
    (jobkit_home / "jobs" / "a").mkdir(parents=True)
    with pytest.raises(RefusedError, match="exists"):
        claimed("a", "mine")


def test_a_job_that_was_given_up_is_never_submitted_later(jobkit_home: Path) -> None:
    answer, _ = jobs.Looks().look({"id": "a", "token": "mine"}, b"{}")
    assert answer == {"record": None}
    with pytest.raises(RefusedError, match="given up"):
        claimed("a", "mine")
    assert claimed("a", "a later one's") is False


@pytest.mark.parametrize(
    ("name", "known", "part"),
    [("a.out", 0, (b"12", 0)), ("a.out", 2, (b"34", 2)), ("a.out", 4, (b"", 4)), ("a.json", 2, (b"12", 0))],
)
def test_only_what_is_new_of_a_file_is_told(
    tmp_path: Path, name: str, known: int, part: tuple[bytes, int]
) -> None:
    (tmp_path / name).write_bytes(b"1234")
    assert jobs._part(tmp_path / name, known, limit=2) == part


def test_a_file_that_has_gone_has_nothing_new(tmp_path: Path) -> None:
    assert jobs._part(tmp_path / "gone", 3, limit=2) == (b"", 3)
