from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from jobkit.errors import SpecError
from jobkit.jobs import checkout, provenance


def git(folder: Path, *args: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *identity, *args], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One with a commit, and a folder in it."""
    root = tmp_path / "repository"
    (root / "sub").mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    (root / "sub" / "a").write_text("one\n")
    (root / ".gitattributes").write_text("b export-ignore\n")
    (root / "b").write_text("kept\n")
    git(root, "add", "--all")
    git(root, "commit", "-q", "-m", "first")
    return root


def restored(repository: Path, target: Path) -> Path | None:
    recorded = provenance.git(repository)
    assert recorded is not None
    (repository / "sub" / "a").write_text("later\n")
    git(repository, "commit", "-q", "-a", "--allow-empty", "-m", "second")
    return checkout.restore(recorded, repository, repository / "sub", target)


@pytest.mark.parametrize("change", ["one\n", "two\n", "é without an end"])
def test_the_files_of_then_are_there_again(change: str, repository: Path, tmp_path: Path) -> None:
    (repository / "sub" / "a").write_text(change)
    workdir = restored(repository, tmp_path / "files")
    assert workdir == tmp_path / "files" / "sub"
    assert (workdir / "a").read_text() == change
    assert (tmp_path / "files" / "b").read_text() == "kept\n"
    assert (repository / "sub" / "a").read_text() == "later\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"\xff\n", "not all text"), (b"\0\n", "not all text"), (b"x\n" * provenance.DIFF_BYTES, "too many")],
)
def test_changes_that_were_not_recorded_whole_are_refused(
    data: bytes, words: str, repository: Path, tmp_path: Path
) -> None:
    (repository / "sub" / "a").write_bytes(data)
    with pytest.raises(SpecError, match=words):
        restored(repository, tmp_path / "files")


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        ({"commit": "0" * 40, "diff": ""}, "is not in .* any more"),
        ({"commit": "HEAD", "diff": "--- a/none\n+++ b/none\n@@ -1 +1 @@\n-x\n+y\n"}, "do not fit"),
    ],
)
def test_what_the_repository_does_not_have_is_refused(
    recorded: dict[str, str], words: str, repository: Path, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=words):
        checkout.restore({**recorded, "diff_truncated": False}, repository, repository, tmp_path / "files")


def test_a_repository_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="the repository cannot be read"):
        checkout.restore({}, tmp_path, tmp_path, tmp_path / "files")


def test_a_folder_outside_the_repository_is_not_restored(repository: Path, tmp_path: Path) -> None:
    recorded = provenance.git(repository)
    assert recorded is not None
    assert checkout.restore(recorded, repository, tmp_path, tmp_path / "files") is None
