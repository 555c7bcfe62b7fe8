from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from jobkit.jobs import files


def test_a_new_file_has_exactly_its_mode(tmp_path: Path) -> None:
    files.create(tmp_path / "a", b"text", 0o640)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "a").read_bytes() == b"text"


def test_creating_a_file_that_exists_is_refused(tmp_path: Path) -> None:
    files.create(tmp_path / "a", b"old")
    with pytest.raises(FileExistsError):
        files.create(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_replacing_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    files.replace(tmp_path / "a", b"old")
    files.replace(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"new"


def test_what_a_killed_writer_left_does_not_hinder_the_next(tmp_path: Path) -> None:
    (tmp_path / ".a.new").write_text("half")
    files.replace(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.replace(tmp_path / "a", b"old")

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        files.replace(tmp_path / "a", b"new")
    assert files.is_full(caught.value)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_ballast_occupies_space_until_it_is_dropped(tmp_path: Path) -> None:
    files.take_ballast(tmp_path)
    assert (tmp_path / files.BALLAST).stat().st_blocks * 512 >= files.BALLAST_BYTES
    files.drop_ballast(tmp_path)
    files.drop_ballast(tmp_path)
    assert not list(tmp_path.iterdir())
