"""Every spec in configs/ can be shown with no variable set, and is a smoke test on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIGS = sorted(path.name for path in (REPOSITORY / "configs").glob("*.yaml"))


def jobkit(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the barest environment: a folder for programs, and one for records."""
    environ = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(home)}
    # Where MLX's bridge for this interpreter has been built already, if it has been.
    environ |= {name: os.environ[name] for name in ("XDG_CACHE_HOME",) if name in os.environ}
    command = [sys.executable, "-m", "jobkit", *words]
    return subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, timeout=570)


@pytest.mark.parametrize("config", CONFIGS)
def test_it_can_be_shown_with_no_variable_set(config: str, tmp_path: Path) -> None:
    done = jobkit(tmp_path, "submit", f"configs/{config}", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "== spec.yaml" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("config", CONFIGS)
def test_it_runs_on_two_ranks_of_this_machine(config: str, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    words = ("--executor", "local", "-n", "2", "--wait", "--junit", str(report))
    done = jobkit(tmp_path, "submit", f"configs/{config}", *words)
    assert done.returncode == 0, done.stderr
    suite = ElementTree.parse(report).getroot()
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("0", "0", "0")
    assert int(suite.get("tests", "0")) >= 2
