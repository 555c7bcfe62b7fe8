"""The kernel's counter of processes that were killed for want of memory: as files, and on the real kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobkit.env import oom

V1, V2 = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 4\n"


@pytest.mark.parametrize(
    ("cgroup", "file", "text", "expected"),
    [
        ("0::/user.slice/a.scope\n", "user.slice/a.scope/memory.events", V2, 4),
        ("5:memory:/job\n0::/\n", "memory/job/memory.oom_control", V1, 3),
        ("5:cpu,memory:/docker/abc\n", "memory/memory.oom_control", V1, 3),
        ("5:cpuset:/job\n", "memory/job/memory.oom_control", V1, 0),
        ("0::/a\n", "b/memory.events", V2, 0),
        ("0::/a\n", "a/memory.events", "oom_kill many\n", 0),
        ("garbage\n:\n", "memory.events", V2, 0),
        ("0::/with:colon\n", "with:colon/memory.events", V2, 4),
    ],
)
def test_the_counter_of_this_cgroup(cgroup: str, file: str, text: str, expected: int, tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text(cgroup)
    (tmp_path / "mount" / file).parent.mkdir(parents=True)
    (tmp_path / "mount" / file).write_text(text)
    assert oom.kills(str(tmp_path / "cgroup"), str(tmp_path / "mount")) == expected


def test_without_cgroups_it_is_nought(tmp_path: Path) -> None:
    assert oom.kills(str(tmp_path / "nothing"), str(tmp_path)) == 0


@pytest.fixture
def small() -> Iterator[Path]:
    """A memory cgroup of 256 MiB."""
    root = Path("/sys/fs/cgroup")
    first = (root / "memory").is_dir()
    folder = (root / "memory" if first else root) / f"jobkit-test-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
        (folder / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(256 << 20))
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    yield folder
    folder.rmdir()


def test_a_rank_that_the_kernel_kills_for_its_memory_is_told(small: Path, tmp_path: Path) -> None:
    greedy = [sys.executable, "-c", "x = []\nwhile True: x.append(bytearray(b'1' * (16 << 20)))"]
    # The ranks and their agent are in the small cgroup, since whoever starts them is.
    enter = f'echo $$ > {small}/cgroup.procs && exec "$@"'
    words = ["jobkit", "launch", "--", *greedy]
    done = subprocess.run(
        ["bash", "-c", enter, "-", sys.executable, "-m", *words],
        env={**os.environ, "JOBKIT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 137, done.stderr
    assert oom.HINT in done.stderr
