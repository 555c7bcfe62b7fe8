from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.cli import folder
from jobkit.errors import SpecError


def test_the_current_folder_is_where_the_caller_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder.current() == str(tmp_path)


def test_a_current_folder_that_was_removed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    with pytest.raises(SpecError, match="the current folder: is gone"):
        folder.current()
