from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.env.files import remove, write_private
from jobkit.errors import LaunchError


def test_a_file_is_the_owners_alone_in_a_folder_that_is_too(tmp_path: Path) -> None:
    path = tmp_path / "gang" / "token"
    write_private(str(path), "abc")
    assert path.read_text() == "abc"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old and longer")
    write_private(str(path), "new")
    assert path.read_text() == "new"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LaunchError, match="cannot be written"):
        write_private(str(tmp_path / "file" / "token"), "abc")


def test_files_go_with_the_folders_that_are_empty_without_them(tmp_path: Path) -> None:
    gang = tmp_path / "attempt-1" / "gang"
    gang.mkdir(parents=True)
    (gang / "token").touch()
    (tmp_path / "attempt-1" / "rank-1.exit.json").touch()
    remove((str(gang / "token"), str(gang / "gone")), str(tmp_path))
    assert [path.name for path in tmp_path.rglob("*")] == ["attempt-1", "rank-1.exit.json"]
