"""The command line with streams that are closed or full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

JOBKIT = f"'{sys.executable}' -m jobkit"


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_rank_gives_the_exit_status_whatever_is_closed(closed: str) -> None:
    done = shell(f"{JOBKIT} launch -n 2 -- sh -c 'echo out; echo err >&2; exit 4' {closed}")
    assert done.returncode == 4
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["list", "status last"])
def test_a_verb_whose_output_is_closed_answers_nobody(jobkit_home: Path, verb: str) -> None:
    done = shell(f"{JOBKIT} {verb} >&-")
    assert done.returncode == (0 if verb == "list" else 2)
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", ["list", "schema", "env --json", "launch -- echo out"])
def test_an_output_that_is_full_is_one_message(jobkit_home: Path, words: str) -> None:
    done = shell(f"{JOBKIT} {words} >/dev/full")
    assert done.returncode == 125
    assert done.stderr == "jobkit: error: standard output: cannot be written (No space left on device)\n"
