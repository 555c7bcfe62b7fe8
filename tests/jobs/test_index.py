from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jobkit.jobs import index
from jobkit.jobs.index import Entry, Index

ENTRY = Entry("2026-11-22T10:00:00.000000Z", "slurm", "7", ["a", "succeeded", ""])


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job's folder, whose record was written an hour ago."""
    folder = tmp_path / "jobs" / "a"
    folder.mkdir(parents=True)
    write(folder, "text")
    return folder


def write(folder: Path, text: str, age_s: float = 3600) -> None:
    new = folder / "new"
    new.write_text(text)
    then = new.stat().st_mtime - age_s
    os.utime(new, (then, then))
    new.replace(folder / "record.json")


def saved(home: Path, job: Path) -> None:
    kept = Index(home)
    kept.put("a", index.stamp(job), ENTRY)
    kept.save(["a"])


def test_what_is_kept_is_found_again(tmp_path: Path, job: Path) -> None:
    saved(tmp_path, job)
    assert Index(tmp_path).get("a", index.stamp(job)) == ENTRY
    assert (tmp_path / index.FILE).stat().st_mode & 0o777 == 0o600


def test_a_record_that_was_written_again_is_read(tmp_path: Path, job: Path) -> None:
    saved(tmp_path, job)
    write(job, "TEXT")
    assert Index(tmp_path).get("a", index.stamp(job)) is None
    (job / "record.json").unlink()
    assert Index(tmp_path).get("a", index.stamp(job)) is None


def test_a_record_that_was_just_written_is_not_kept(tmp_path: Path, job: Path) -> None:
    write(job, "text", age_s=0)
    saved(tmp_path, job)
    assert Index(tmp_path).get("a", index.stamp(job)) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"jobkit": "0"}',
        b'{"jobkit": "VERSION", "jobs": {"a": [STAMP]}}',
        b'{"jobkit": "VERSION", "jobs": {"a": [STAMP, {"created": 7}]}}',
        b'{"jobkit": "VERSION", "jobs": {"a": [STAMP, ["", "", "", [7]]]}}',
        b'{"jobkit": "VERSION", "jobs": {"a": [STAMP, ["", ""]]}}',
        b'{"jobkit": "VERSION", "jobs": {"a": [STAMP, {"a": 1, "b": 2, "c": 3, "d": 4}]}}',
        b'{"jobkit": "another", "jobs": {"a": [STAMP, ["", "", "", []]]}}',
    ],
)
def test_one_that_makes_no_sense_is_passed_over_and_written_again(
    content: bytes, tmp_path: Path, job: Path
) -> None:
    saved(tmp_path, job)
    whole = json.loads((tmp_path / index.FILE).read_bytes())
    stamp = json.dumps(whole["jobs"]["a"][0]).encode()
    damaged = content.replace(b"VERSION", whole["jobkit"].encode()).replace(b"STAMP", stamp)
    (tmp_path / index.FILE).write_bytes(damaged)
    assert Index(tmp_path).get("a", index.stamp(job)) is None
    saved(tmp_path, job)
    assert Index(tmp_path).get("a", index.stamp(job)) == ENTRY


def test_jobs_that_are_gone_are_dropped(tmp_path: Path, job: Path) -> None:
    saved(tmp_path, job)
    Index(tmp_path).save([])
    assert json.loads((tmp_path / index.FILE).read_bytes())["jobs"] == {}


def test_without_room_nothing_is_left(tmp_path: Path, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(Path, "replace", full)
    saved(tmp_path, job)
    assert [path.name for path in tmp_path.iterdir()] == ["jobs"]
