"""`python -m jobkit.native.mlx` builds the bridge ahead of its first use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobkit.native.mlx import __main__ as subject


def test_it_prints_where_the_bridge_is() -> None:
    command = [sys.executable, "-m", "jobkit.native.mlx"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert Path(done.stdout.strip()).is_file()


def test_an_error_is_one_message_and_a_status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert subject.main() == 125
    assert capsys.readouterr().err.startswith("jobkit: error: the bridge to MLX: no C++ compiler on PATH")
