"""Which of the recorded hosts, and where what is found goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.cli import hosts_source


@pytest.fixture
def ring4(repository: Path) -> str:
    return str(repository / "tests/data/macs/ring4")


def labels(out: str) -> list[str]:
    return [line.split('"')[1] for line in out.splitlines() if "label=" in line and "--" not in line]


def test_hosts_and_their_order_can_be_named(jobkit: Callable[..., Any], ring4: str) -> None:
    done = jobkit("hosts", "graph", "--from", ring4, "--hosts", "hostname2,hostname1")

    assert (done.status, labels(done.out)) == (0, ["hostname2", "hostname1"])
    assert "hostname1: en3: a cable leads to a machine that is not among the hosts (hostname4)" in done.err


def test_hosts_can_come_from_a_hostfile(jobkit: Callable[..., Any], ring4: str, work: Path) -> None:
    (work / "h.json").write_text(json.dumps([{"ssh": "hostname3"}, {"ssh": "hostname2"}]))

    done = jobkit("hosts", "graph", "--from", ring4, "--hostfile", "h.json")

    assert labels(done.out) == ["hostname3", "hostname2"]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("--hosts", "hostname1,"), "--hosts: an empty name"),
        (("--hosts", "a", "--hostfile", "b"), "cannot be given together"),
        (("--hosts", "hostname9"), "no recording of a host, got 'hostname9'"),
        (("--output", "none/a.svg"), "none/a.svg: cannot be written (No such file or directory)"),
    ],
)
def test_what_cannot_be_used_is_refused(
    jobkit: Callable[..., Any], ring4: str, words: tuple[str, ...], wrong: str
) -> None:
    done = jobkit("hosts", "graph", "--from", ring4, *words)

    assert (done.status, done.out) == (2, "")
    assert wrong in done.err


def test_the_limit_of_a_search_is_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(hosts_source.time, "monotonic", lambda: now)
    may_go_on = hosts_source.limit()

    assert may_go_on()
    now += hosts_source.SEARCH_S
    assert not may_go_on()
