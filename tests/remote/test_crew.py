"""Hosts over what stands in for SSH: a local shell; the agents are real."""

from __future__ import annotations

import itertools
import json
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from jobkit.agent.events import Done, Event, Output, Problem
from jobkit.agent.request import Request
from jobkit.errors import LaunchError, SubmitError
from jobkit.remote import connection
from jobkit.remote.crew import AT_ONCE, Host, SshCrew, There, pythons

DEADLINE_S = 60.0
PLACE = "echo $JOBKIT_COORDINATOR"


def crew(
    *places: tuple[str, int, bool], program: str = "echo $JOBKIT_RANK $JOBKIT_NODE", **asked: Any
) -> SshCrew:
    command = ("sh", "-c", program)
    size = sum(n for _, n, _ in places)
    ranks = iter(range(size))
    hosts = [Host(name, tuple(itertools.islice(ranks, n)), is_here) for name, n, is_here in places]
    request = Request(
        "crew", "crew", 1, None, "pipe", 0, 1, size, 0, len(hosts), command, ("none",), 1, sys.executable,
        "/", dict(os.environ), (), {}, "all", None, None, None, grace_s=1.0,
    )  # fmt: skip
    return SshCrew(replace(request, **asked), hosts, There(command, (sys.executable,), "/", False, True))


def far(*names: str) -> list[tuple[str, int, bool]]:
    return [(name, 1, False) for name in names]


def events(one: SshCrew) -> list[Event]:
    found: list[Event] = []
    deadline = time.monotonic() + DEADLINE_S
    while not (found and isinstance(found[-1], Done)):
        assert time.monotonic() < deadline, found
        select.select([one], [], [], 1.0)
        found += one.receive()
    return found


def output(found: list[Event], rank: int) -> bytes:
    return b"".join(event.data for event in found if isinstance(event, Output) and event.rank == rank)


def test_hosts_and_this_machine_are_one_agent(machine: Any) -> None:
    with crew(("h1", 2, False), ("localhost", 1, True)) as one:
        found = events(one)
    assert [output(found, rank) for rank in range(3)] == [b"0 0\n", b"1 0\n", b"2 1\n"]
    assert found[-1] == Done(None, 0)
    assert list(machine.home.iterdir()) == []


def test_ranks_of_one_host_that_do_not_follow_each_other_have_one_agent(machine: Any) -> None:
    program = "echo $JOBKIT_RANK $JOBKIT_LOCAL_RANK $JOBKIT_NODE"
    one = crew(*far("h1", "h2"), program=program)
    hosts = [Host("h1", (0, 2), False), Host("h2", (1,), False)]
    three = replace(one._request, size=3, stdin="2")
    one.close()
    with SshCrew(three, hosts, one._there) as one:
        found = events(one)
    assert [output(found, rank) for rank in range(3)] == [b"0 0 0\n", b"1 0 1\n", b"2 1 0\n"]
    assert len(machine.channels) == 2


def test_rows_of_jaccls_matrix_have_the_hosts_own_names(machine: Any) -> None:
    rows = [{"ssh": f"alias{i}", "rdma": [None, None]} for i in range(2)]
    program = 'cat "$JOBKIT_RUN_DIR/jaccl.json"'
    with crew(*far("h1", "h2"), program=program, jaccl_rows=json.dumps(rows)) as one:
        found = events(one)
    name = os.uname().nodename
    assert [row["ssh"] for row in json.loads(output(found, 1))] == [name, name]


def test_no_rank_starts_where_one_host_cannot_have_any(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    start = machine.start

    def some(login: str, command: str, *where: str) -> Any:
        if login != "h1":
            raise SubmitError(f"{login}: no")
        return start(login, command, *where)

    monkeypatch.setattr(connection, "start", some)
    with crew(*far("h1", "h2"), ("localhost", 1, True), *far("h3")) as one:
        found = events(one)
    assert found == [Problem(125, "h2: no"), Problem(125, "h3: no"), Done(None, 125)]


def test_an_interpreter_that_is_not_on_this_machine_is_told(machine: Any) -> None:
    one = crew(("localhost", 1, True), *far("h2"))
    one._request = replace(one._request, python="/no/such/python")
    with one, pytest.raises(LaunchError, match="/no/such/python: the agent cannot be started"):
        events(one)


def test_it_can_be_ended_while_it_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def slow(*_: object) -> None:
        go.wait(DEADLINE_S)
        raise SubmitError("late")

    monkeypatch.setattr(connection, "start", slow)
    with crew(*far("h1")) as one:
        one.signal("INT")
        assert events(one) == [Done(None, 143)]
    go.set()


def test_so_many_connections_are_made_at_once_and_no_more(
    monkeypatch: pytest.MonkeyPatch, wait: Callable[..., Any]
) -> None:
    go, now, most = threading.Event(), set(), []

    def count(login: str, *_: object) -> None:
        now.add(login)
        most.append(len(now))
        go.wait(DEADLINE_S)
        now.discard(login)
        raise SubmitError(f"{login}: no")

    monkeypatch.setattr(connection, "start", count)
    with crew(*far(*(f"h{i}" for i in range(2 * AT_ONCE)))) as one:
        assert wait(lambda: len(now) == AT_ONCE)
        go.set()
        events(one)
    assert (max(most), len(most)) == (AT_ONCE, 2 * AT_ONCE)


@pytest.mark.parametrize(
    ("hostfiles", "own", "place"),
    [
        ("10.1.0.1", "10.0.0.1", "10.0.0.1,10.1.0.1"),
        ("", "10.0.0.1", "10.0.0.1"),
        ("", "::1", os.uname().nodename),
    ],
)
def test_ranks_look_for_the_first_host_where_it_was_reached_and_where_the_hostfile_says(
    machine: Any, hostfiles: str, own: str, place: str
) -> None:
    machine.before = f"export SSH_CONNECTION='10.0.0.9 1 {own} 22'; "
    addresses = ((hostfiles,), ("10.1.0.2",)) if hostfiles else ()
    with crew(*far("h1", "h2"), program=PLACE, addresses=addresses) as one:
        found = events(one)
    assert [output(found, rank).decode() for rank in (0, 1)] == [f"{place}\n"] * 2


def test_this_machine_is_looked_for_where_the_others_see_it(machine: Any) -> None:
    machine.before = "export SSH_CONNECTION='10.0.0.9 1 10.0.0.1 22'; "
    with crew(("localhost", 1, True), *far("h2"), program=PLACE) as one:
        found = events(one)
    assert [output(found, rank) for rank in (0, 1)] == [b"10.0.0.9\n"] * 2


def test_an_interpreter_that_is_named_is_the_only_one() -> None:
    assert pythons("/p") == ("/p",)
    assert pythons(None) == (sys.executable, "python3")
