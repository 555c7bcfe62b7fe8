"""Golden dry runs: what every file in configs/ would send, so that a change of it shows in a review.

`UPDATE_GOLDEN=1 python -m pytest tests/test_golden.py` writes them anew.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from jobkit.cli import main

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDEN = Path(__file__).resolve().parent / "golden"
CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_a_config_sends_what_it_did(
    config: Path, jobkit_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert main(["submit", str(config.relative_to(REPOSITORY)), "--dry-run", "--id", "golden"]) == 0
    run_dir = str(jobkit_home / "jobs" / "golden")
    text = capfd.readouterr().out
    for name, value in (("run_dir", run_dir), ("python", sys.executable), ("cwd", str(REPOSITORY))):
        text = text.replace(value, "{" + name + "}")
    golden = GOLDEN / f"{config.stem}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


def test_every_golden_file_has_its_config() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == {path.stem for path in CONFIGS}
