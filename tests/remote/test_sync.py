from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from jobkit.errors import SubmitError
from jobkit.remote import sync


@pytest.fixture
def send(machine, tree: Path, jobkit_home: Path) -> Callable[[], Path]:
    """Send the tree; return its copy."""

    def run() -> Path:
        run.told = []
        return Path(sync.send(machine.session(), tree, dict(os.environ), run.told.append))

    return run


def content(folder: Path) -> dict[str, object]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = path.readlink()
        elif path.is_file():
            found[str(path.relative_to(folder))] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


def test_a_copy_follows_its_tree(send: Callable[[], Path], tree: Path) -> None:
    (tree / "a folder" / "deep").mkdir(parents=True)
    (tree / "a folder" / "deep" / "new\nline 'é'").write_bytes(b"\0\xff" * (1 << 20))
    (tree / "run").write_text("#!/bin/sh")
    (tree / "run").chmod(0o755)
    (tree / "empty").touch()
    (tree / "link").symlink_to("a folder/deep")
    copy = send()
    assert content(copy) == content(tree)
    assert "4 of 4 files sent" in send.told[-1]
    send()
    assert send.told == []

    (tree / "run").chmod(0o644)
    (tree / "empty").write_text("not any more")
    (tree / "link").unlink()
    (tree / "link").write_text("a file now")
    (tree / "a folder" / "deep" / "new\nline 'é'").unlink()
    (tree / "a folder" / "deep").rmdir()
    (tree / "a folder").rmdir()
    (tree / "a folder").write_text("a file as well")
    assert send() == copy
    assert content(copy) == content(tree)
    assert "4 of 4 files sent" in send.told[-1]
    assert "1 removed" in send.told[-1]


def test_what_jobs_have_written_there_stays_and_what_they_changed_is_put_right(
    send: Callable[[], Path], tree: Path
) -> None:
    (tree / "sub").mkdir()
    (tree / "sub" / "source").write_text("right")
    copy = send()
    (copy / "sub" / "source").write_text("wrong")
    (copy / "sub" / "result").write_text("mine")
    send()
    assert (copy / "sub" / "source").read_text() == "right"
    (tree / "sub" / "source").unlink()
    send()
    assert content(copy) == {"sub/result": (b"mine", False)}


def test_nothing_outside_the_copy_is_touched(send: Callable[[], Path], tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (tree / "sub").symlink_to(outside)
    copy = send()
    (tree / "sub").unlink()
    (tree / "sub").mkdir()
    (tree / "sub" / "file").write_text("in the tree")
    send()
    assert content(copy) == content(tree)
    (copy / "sub" / "file").unlink()
    (copy / "sub").rmdir()
    (copy / "sub").symlink_to(outside)
    (tree / "sub" / "file").unlink()
    send()
    assert content(outside) == {"file": (b"mine", False)}


def test_a_file_that_cannot_be_read_is_told(
    send: Callable[[], Path], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "a").write_text("here")
    wanted = sync.tree.manifest(tree, Path("/nowhere"))
    (tree / "a").unlink()
    monkeypatch.setattr(sync.tree, "manifest", lambda *_: wanted)
    with pytest.raises(SubmitError, match="sync: a: cannot be read: No such file"):
        send()


def test_a_file_that_changes_while_it_is_sent_is_told(
    send: Callable[[], Path], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "a").write_text("before")
    wanted = sync.tree.manifest(tree, Path("/nowhere"))
    (tree / "a").write_text("after")
    monkeypatch.setattr(sync.tree, "manifest", lambda *_: wanted)
    with pytest.raises(SubmitError, match="sync: a changed while it was sent"):
        send()


@pytest.mark.parametrize(
    ("become", "said"),
    [(os.mkfifo, "is no longer a file"), (lambda path: path.symlink_to("sub/file"), "cannot be read")],
    ids=["pipe", "link"],
)
def test_what_is_no_file_any_more_is_not_read(
    send: Callable[[], Path],
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    become: Callable[[Path], None],
    said: str,
) -> None:
    (tree / "a").write_text("here")
    wanted = sync.tree.manifest(tree, Path("/nowhere"))
    (tree / "a").unlink()
    become(tree / "a")
    monkeypatch.setattr(sync.tree, "manifest", lambda *_: wanted)
    with pytest.raises(SubmitError, match=f"sync: a: {said}"):
        send()


@pytest.mark.parametrize(
    "answer", ['["../secret"]', '["/etc/hostname"]', '["a", "a"]', "[null]", "[[]]", "7", "no json", "[{}]"]
)
def test_a_host_that_asks_for_what_was_not_offered_gets_nothing(tmp_path: Path, answer: str) -> None:
    (tmp_path / "secret").write_text("mine")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_text("offered")
    host = Mock(login="me@evil", ask=Mock(return_value=({"tree": "/t"}, answer.encode())))
    wanted = sync.tree.manifest(tmp_path / "tree", Path("/nowhere"))
    with pytest.raises(SubmitError, match="sync: me@evil: asks for what is not there to be sent"):
        sync.transfer(host, "tree", tmp_path / "tree", wanted, print)
    host.send.assert_not_called()


def test_a_big_tree_says_how_far_it_is(
    send: Callable[[], Path], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "_QUIET_S", -1.0)
    for name in "ab":
        (tree / name).write_text(name)
    send()
    assert "sync: 1 of 2 files sent, 0.0 MB" in send.told


def test_trees_of_one_name_have_copies_of_their_own(jobkit_home: Path) -> None:
    names = [sync.name(Path(path), dict(os.environ)) for path in ("/a/my tree", "/b/my tree", "/a/my tree")]
    assert names[0] == names[2] != names[1]
    assert names[0].startswith("my-tree-")
