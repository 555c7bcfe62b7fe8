"""A rank that fails because of another one leaves a note for its agent before it raises."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ABORTS_AND_FAILS_LAST = textwrap.dedent(
    """
    import sys, time
    import numpy as np
    import jobkit.native as dist

    world = dist.init()
    dist.barrier()
    if world.rank() == 1:
        world.abort("out of ideas")
        time.sleep(0.5)
        sys.exit(5)
    dist.all_sum(np.ones(3))
    """
)


@pytest.fixture
def launched(tmp_path: Path, jobkit_home: Path) -> subprocess.CompletedProcess[str]:
    program = tmp_path / "program.py"
    program.write_text(ABORTS_AND_FAILS_LAST)
    words = [sys.executable, "-m", "jobkit", "launch", "-n", "3", "--", sys.executable, str(program)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


def test_the_status_is_the_culprits_although_its_victims_ended_first(
    launched: subprocess.CompletedProcess[str],
) -> None:
    assert launched.returncode == 5, launched.stderr
    assert "rank 1 of 3" in launched.stderr.splitlines()[-1]


def barrier_unless_last(group: Any, pipe: Any) -> str:
    if group.rank == group.size - 1:
        group.abort("out of ideas")
    group.barrier()
    return "through"


def test_the_note_is_whole_and_its_owners_alone(tmp_path: Path, processes: Callable[..., Any]) -> None:
    note = tmp_path / "victim.json"
    ranks = processes(2, barrier_unless_last, victim_file=str(note))

    name, _, culprit = ranks.receive(0)
    ranks.receive(1)

    assert (name, culprit) == ("Error", 1)
    assert json.loads(note.read_text()) == {"victim_of": 1}
    assert note.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [note]
