from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.remote.there import tree
from jobkit.remote.there.frames import RefusedError


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../up", "a/../../up", "a//b", "./a", "a\0b"])
def test_a_path_that_leaves_the_tree_is_refused(path: str) -> None:
    with pytest.raises(RefusedError):
        tree.check(path)


@pytest.mark.parametrize("path", ["a", "a b/c'd", "new\nline", "..a/b.."])
def test_a_path_in_the_tree_is_taken(path: str) -> None:
    tree.check(path)


def test_a_file_that_was_changed_there_is_not_as_it_should_be(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("sent")
    face = ["f", 0, "digest"]
    kept = [face, tree._stamp(tmp_path / "a")]
    assert tree.is_there(tmp_path, "a", face, kept)
    assert not tree.is_there(tmp_path, "a", ["f", 1, "digest"], kept)
    assert not tree.is_there(tmp_path, "a", face, None)
    (tmp_path / "a").write_text("longer")
    assert not tree.is_there(tmp_path, "a", face, kept)
    (tmp_path / "a").unlink()
    assert not tree.is_there(tmp_path, "a", face, kept)
