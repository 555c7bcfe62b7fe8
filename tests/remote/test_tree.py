from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from jobkit.errors import SubmitError
from jobkit.remote import tree as trees

NOWHERE = Path("/nowhere")


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")
    subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True)


def fill(folder: Path) -> None:
    (folder / "sub").mkdir(parents=True)
    (folder / ".gitignore").write_text("*.log\n/data/\n!keep.log\n")
    for name in ("a b", "x.log", "keep.log", "sub/y.log", "sub/é\nz", "data"):
        path = folder / name / "inside" if name == "data" else folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)


@pytest.mark.parametrize("is_repository", [True, False])
def test_what_is_ignored_is_left_out(tree: Path, is_repository: bool) -> None:
    fill(tree)
    if is_repository:
        git(tree, "init", "-q")
    found = trees.manifest(tree, NOWHERE)
    assert sorted(found) == sorted([".gitignore", "a b", "keep.log", "sub/é\nz"])


def test_what_is_tracked_counts_though_ignored_and_what_is_gone_does_not(tree: Path) -> None:
    fill(tree)
    git(tree, "init", "-q")
    git(tree, "add", "-f", "x.log", "a b")
    (tree / "a b").unlink()
    found = trees.manifest(tree, NOWHERE)
    assert "x.log" in found
    assert "a b" not in found


def test_a_submodule_is_part_of_the_tree(tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    fill(other)
    git(other, "init", "-q")
    git(other, "add", ".")
    git(other, "commit", "-qm", "a")
    git(tree, "init", "-q")
    git(tree, "submodule", "add", str(other), "module")
    found = trees.manifest(tree, NOWHERE)
    assert "module/a b" in found
    assert "module/x.log" not in found
    assert not any(".git/" in path for path in found)


def test_links_bits_and_what_is_no_file(tree: Path, tmp_path: Path) -> None:
    (tree / "sub").mkdir()
    (tree / "run").write_text("")
    (tree / "run").chmod(0o755)
    (tree / "relative").symlink_to("run")
    (tree / "sub" / "inside").symlink_to(tree / "run")
    (tree / "outside").symlink_to("/etc/hosts")
    (tree / "folder").symlink_to("sub")
    os.mkfifo(tree / "pipe")
    found = trees.manifest(tree, NOWHERE)
    assert {path: face[2] for path, face in found.items() if face[0] == "l"} == {
        "relative": "run",
        "sub/inside": "../run",
        "outside": "/etc/hosts",
        "folder": "sub",
    }
    assert found["run"][:2] == ("f", 1)
    assert "pipe" not in found


def test_jobkits_own_folder_in_the_tree_is_left_out(tree: Path) -> None:
    (tree / "state" / "jobs").mkdir(parents=True)
    (tree / "state" / "jobs" / "secret").touch()
    (tree / "a").touch()
    assert list(trees.manifest(tree, tree / "state")) == ["a"]


def test_a_home_is_not_sent_as_a_whole(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tree))
    with pytest.raises(SubmitError, match="everything below it would be sent"):
        trees.manifest(tree, NOWHERE)


def test_the_top_of_the_repository_is_the_tree(tree: Path) -> None:
    (tree / "sub").mkdir()
    assert trees.root(str(tree / "sub")) == tree / "sub"
    git(tree, "init", "-q")
    assert trees.root(str(tree / "sub")) == tree


def test_git_that_does_not_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(trees, "_GIT_S", 0.1)
    with pytest.raises(SubmitError, match="git has not ended within 0 s"):
        trees.root(str(tmp_path))
