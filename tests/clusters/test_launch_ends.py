"""Launches over SSH whose parts are killed: nothing stays on any host."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from clusters.site import LAPTOP, ONE, SLEEP, TWO, Site

RANKS = ("--hosts", f"{ONE},{TWO}", "-n", "2", "--backend", "none")
# A child in a session of its own, deaf to what is sent gently, and the rank itself.
DEAF = f"trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM HUP; {SLEEP}' & echo here; {SLEEP}"
MOST_S = 10.0 * 6  # ten seconds, on a machine that is six times slower


def started(process: subprocess.Popen[str], n: int) -> None:
    """Wait until so many ranks have said that they run."""
    assert process.stdout is not None
    for _ in range(n):
        assert process.stdout.readline() == "here\n", process.communicate()


def kill(site: Site, host: str, pattern: str, *, newest: bool = False) -> None:
    which = ("--newest",) if newest else ()
    found = site.hosts.run(host, "pgrep", *which, "-f", pattern).stdout.split()
    site.hosts.run(host, "kill", "-KILL", *found)


@pytest.mark.parametrize(
    ("host", "pattern", "newest"),
    [
        (LAPTOP, "jobkit launch", False),
        (TWO, r"sshd: (user|root)", False),
        (TWO, r"jobkit\.agent", True),
    ],
    ids=["launcher", "sshd", "agent"],
)
def test_nothing_is_left_where_something_was_killed(
    site: Site, tmp_path: Path, wait: Any, host: str, pattern: str, newest: bool
) -> None:
    with site.launch(*RANKS, "--", "sh", "-c", DEAF, cwd=tmp_path) as process:
        started(process, 4)
        assert len(site.left()) >= 8
        kill(site, host, pattern, newest=newest)
        _, error = process.communicate(timeout=120)
    assert wait(lambda: not site.left(), MOST_S), site.left()
    if host == TWO:
        assert process.returncode == 125
        assert f"{TWO}: " in error
        assert error.count("error:") == 1


def test_a_sentinel_that_is_killed_ends_the_job(site: Site, tmp_path: Path, wait: Any) -> None:
    with site.launch(*RANKS, "--", "sh", "-c", DEAF, cwd=tmp_path) as process:
        started(process, 4)
        pids = site.hosts.run(TWO, "pgrep", "-f", r"jobkit\.agent").stdout.split()
        site.hosts.run(TWO, "kill", "-KILL", min(pids, key=int))
        _, error = process.communicate(timeout=120)
    assert wait(lambda: not site.left(), MOST_S), site.left()
    assert process.returncode == 125
    assert "the sentinel of this job was killed" in error


def test_a_link_that_is_pulled_leaves_nothing_on_either_side(site: Site, tmp_path: Path, wait: Any) -> None:
    link = ("ip", "link", "set", "eth0")
    with site.launch(*RANKS, "--", "sh", "-c", DEAF, cwd=tmp_path) as process:
        started(process, 4)
        site.hosts.run(TWO, *link, "down")
        try:
            assert wait(lambda: not site.left(), MOST_S), site.left()
            process.communicate(timeout=120)
        finally:
            site.hosts.run(TWO, *link, "up")
    assert process.returncode == 125
