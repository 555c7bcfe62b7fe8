from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from jobkit.jobs import provenance


def git(folder: Path, *args: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(["git", *identity, *args], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "a").write_text("one\n")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_clean_checkout_has_a_commit_and_no_difference(checkout: Path) -> None:
    assert provenance.git(checkout) == {
        "commit": git(checkout, "rev-parse", "HEAD"),
        "branch": "main",
        "diff": "",
        "diff_truncated": False,
    }


def test_uncommitted_changes_are_kept(checkout: Path) -> None:
    (checkout / "a").write_text("two\n")
    found = provenance.git(checkout)
    assert found is not None
    assert "-one\n+two\n" in found["diff"]


def test_a_big_difference_is_cut(checkout: Path) -> None:
    (checkout / "a").write_text("x" * (provenance.DIFF_BYTES * 2))
    found = provenance.git(checkout)
    assert found is not None
    assert len(found["diff"]) <= provenance.DIFF_BYTES
    assert found["diff_truncated"]


def test_no_repository_is_no_provenance(tmp_path: Path) -> None:
    assert provenance.git(tmp_path) is None


def test_no_git_is_no_provenance(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    assert provenance.git(checkout) is None


def test_a_repository_without_a_commit_has_no_provenance(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert provenance.git(tmp_path) is None
