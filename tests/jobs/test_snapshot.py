from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobkit.errors import SubmitError
from jobkit.jobs import snapshot


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "package" / "deep").mkdir(parents=True)
    (root / "run.sh").write_text("echo hello\n")
    (root / "run.sh").chmod(0o755)
    (root / "package" / "deep" / "data").write_bytes(b"\xff")
    (tmp_path / "outside").write_text("outside")
    return root


def test_files_keep_content_mode_and_time(source: Path, tmp_path: Path) -> None:
    os.utime(source / "run.sh", (1, 1))
    snapshot.take(source, tmp_path / "copy")
    copy = tmp_path / "copy" / "run.sh"
    assert copy.read_text() == "echo hello\n"
    assert copy.stat().st_mode & 0o777 == 0o755
    assert copy.stat().st_mtime == 1
    assert (tmp_path / "copy" / "package" / "deep" / "data").read_bytes() == b"\xff"


def test_the_history_and_run_folders_are_left_out(source: Path, tmp_path: Path) -> None:
    (source / ".git").mkdir()
    (source / "runs" / "job").mkdir(parents=True)
    snapshot.take(source, source / "runs" / "new", exclude=[source / "runs"])
    assert sorted(path.name for path in (source / "runs" / "new").iterdir()) == ["package", "run.sh"]


@pytest.mark.parametrize(
    ("at", "to", "expected"),
    [
        ("link", "package/deep/data", "package/deep/data"),
        ("package/link", "../run.sh", "../run.sh"),
        ("link", "{source}/run.sh", "run.sh"),
        ("link", "../outside", "{tmp}/outside"),
        ("package/link", "/etc", "/etc"),
        ("link", "nowhere", "nowhere"),
        ("package/link", "..", ".."),
    ],
)
def test_links_inside_point_into_the_copy_and_links_outside_to_the_same(
    at: str, to: str, expected: str, source: Path, tmp_path: Path
) -> None:
    (source / at).symlink_to(to.format(source=source))
    snapshot.take(source, tmp_path / "copy")
    assert str((tmp_path / "copy" / at).readlink()) == expected.format(tmp=tmp_path)


def test_pipes_are_left_out(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "pipe")
    snapshot.take(source, tmp_path / "copy")
    assert not (tmp_path / "copy" / "pipe").exists()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SubmitError, match=r"snapshot: .*nothing: cannot be copied: No such file"):
        snapshot.take(tmp_path / "nothing", tmp_path / "copy")
