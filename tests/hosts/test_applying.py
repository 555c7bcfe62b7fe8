"""Changes of hosts: all or none. The hosts are shells of this machine, a change is a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobkit.errors import SubmitError
from jobkit.hosts import applying, shell
from jobkit.hosts.setup import Step
from jobkit.hosts.shell import Shell


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Shell]]:
    """Start shells, in which sudo is one of the test's own."""
    (tmp_path / "sudo").write_text('#!/bin/sh\n[ "$1" = -n ] || exit 9; shift; exec "$@"\n')
    (tmp_path / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    started: list[Shell] = []

    def start(name: str) -> Shell:
        started.append(shell.start(name, is_here=True))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def step(tmp_path: Path) -> Callable[..., Step]:
    """Make a step that makes a file."""

    def make(name: str, do: str = "sudo touch") -> Step:
        path = tmp_path / name
        return Step(is_done=f"test -e {path}", do=f"{do} {path}", undo=f"sudo rm {path}")

    return make


def never(name: str) -> Shell:
    raise SubmitError(f"{name}: gone")


def silence(_text: str) -> None:
    """Say nothing."""


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "sudo")


def test_what_is_done_already_is_left_alone(
    start: Callable[[str], Shell], step: Callable[..., Step], tmp_path: Path
) -> None:
    (tmp_path / "a1").touch()
    hosts = [applying.Host(start(name), tuple(step(f"{name}{n}") for n in (1, 2))) for name in "ab"]
    said: list[str] = []

    assert applying.apply(hosts, never, said.append) == applying.Outcome({"a": 1, "b": 2})
    assert files(tmp_path) == ["a1", "a2", "b1", "b2"]
    assert sorted(said) == [f"{name}: sudo touch {tmp_path}/{name}{n}" for name, n in ("a2", "b1", "b2")]


@pytest.mark.parametrize(
    ("do", "why"), [("sudo false", "failed: status 1"), ("sudo true", "failed: it has had no effect")]
)
def test_where_one_fails_all_is_taken_back(
    start: Callable[[str], Shell], step: Callable[..., Step], tmp_path: Path, do: str, why: str
) -> None:
    (tmp_path / "b1").touch()
    hosts = [
        applying.Host(start("a"), (step("a1"), step("a2", do))),
        applying.Host(start("b"), (step("b1"),)),
    ]

    found = applying.apply(hosts, never, silence)

    assert found == applying.Outcome({"a": 0, "b": 0}, (f"a: `{do} {tmp_path}/a2` {why}",), ("a",))
    assert files(tmp_path) == ["b1"]


def test_what_was_there_is_brought_back(
    start: Callable[[str], Shell], step: Callable[..., Step], tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_text("old\n")
    change = Step(
        is_done=f"grep -q new {path}",
        before=f"cat {path}",
        do=f"echo new > {path}",
        undo="false",
        again=f"tee {path} <<<",
    )
    again = Step(**{**vars(change), "again": f"printf '%s\\n' > {path}"})
    hosts = [applying.Host(start("a"), (again, step("a2", "sudo false")))]

    assert applying.apply(hosts, never, silence).taken_back == ("a",)
    assert path.read_text() == "old\n"


def test_of_a_host_that_is_lost_the_state_is_told_or_taken_back_over_another_connection(
    start: Callable[[str], Shell], step: Callable[..., Step], tmp_path: Path
) -> None:
    for again, left in ((never, ["a1", "a2"]), (start, [])):
        shell = start("a")
        cut = f"kill -KILL {shell.run('echo $PARENT').text.strip()}; touch"
        hosts = [applying.Host(shell, (step("a1"), step("a2", cut)))]

        found = applying.apply(hosts, again, silence)

        assert files(tmp_path) == left
        assert found.taken_back == (() if left else ("a",))
        assert found.errors[0].startswith("a: ")
        if left:
            remedy = f"run there: sudo rm {tmp_path}/a2; sudo rm {tmp_path}/a1"
            assert found.errors[1].startswith("a: its changes could not be taken back (")
            assert found.errors[1].endswith(remedy)
        for name in left:
            (tmp_path / name).unlink()


def test_an_interrupt_takes_all_back_when_the_command_under_way_has_ended(
    start: Callable[[str], Shell], step: Callable[..., Step], tmp_path: Path
) -> None:
    interrupt = f"kill -INT {os.getpid()}; sleep 1; touch"
    hosts = [
        applying.Host(start("a"), (step("a1"), step("a2", interrupt), step("a3"))),
        applying.Host(start("b"), (step("b1"),)),
    ]

    found = applying.apply(hosts, never, silence)

    assert (found.is_interrupted, found.errors, files(tmp_path)) == (True, (), [])
    assert "a" in found.taken_back


def test_sudo_that_asks_or_is_missing_is_found_before(start: Callable[[str], Shell], tmp_path: Path) -> None:
    assert applying.without_sudo([start("a"), start("b")]) == []
    (tmp_path / "sudo").write_text("#!/bin/sh\necho 'sudo: a password is required' >&2; exit 1\n")
    assert applying.without_sudo([start("a")]) == [
        "a: no sudo without a password (sudo: a password is required)"
    ]
