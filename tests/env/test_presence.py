from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobkit.env import presence
from jobkit.env.translate import Identity
from jobkit.jobs.folder import is_locked


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    return tmp_path / "openmpi-7" / "attempt-1"


def identity(attempt: Path, rank: int) -> Identity:
    return Identity("openmpi-7", 1, str(attempt.parent), f"rank-{rank}.gang")


def leave(attempt: Path, rank: int) -> list[Path]:
    """Leave what a rank leaves that was killed with everything around it."""
    gang = attempt / f"rank-{rank}.gang"
    gang.mkdir(parents=True)
    files = [gang / "token", gang / ".alive"]
    files += [attempt / f"rank-{rank}.{what}.json" for what in ("exit", "victim")]
    for path in files:
        path.touch()
    return files


def test_a_place_is_locked_as_long_as_it_is_held(attempt: Path) -> None:
    fd = presence.take(identity(attempt, 0), 0)
    alive = attempt / "rank-0.gang" / "alive"
    assert (is_locked(alive), list(alive.parent.iterdir())) == (True, [alive])
    os.close(fd)
    assert is_locked(alive) is False


def test_what_an_earlier_rank_left_goes_and_nothing_of_others(attempt: Path) -> None:
    old, others = leave(attempt, 1), leave(attempt, 11)
    os.close(presence.take(identity(attempt, 1), 1))
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in others)


def test_the_ranks_of_a_larger_job_go(attempt: Path) -> None:
    old, own = [leave(attempt, rank) for rank in (2, 10)], leave(attempt, 1)
    (attempt / "rank-3.gang").mkdir()
    presence.forget_beyond(identity(attempt, 0), 2)
    assert not any(path.exists() for files in old for path in files)
    assert all(path.exists() for path in own)
    assert [path.name for path in attempt.glob("*.gang")] == ["rank-1.gang"]


def test_where_nothing_can_be_written_there_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "openmpi-7").write_text("a file")
    assert presence.take(identity(tmp_path / "openmpi-7" / "attempt-1", 0), 0) == -1
    presence.forget_beyond(identity(tmp_path / "openmpi-7" / "attempt-1", 0), 1)
