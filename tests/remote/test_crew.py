"""Hosts over what stands in for SSH: a local shell; the agents are real."""

from __future__ import annotations

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


def crew(*hosts: Host, program: str = "echo $JOBKIT_RANK $JOBKIT_NODE", address: str = "") -> SshCrew:
    command = ("sh", "-c", program)
    size = sum(host.ranks for host in hosts)
    request = Request(
        "crew", "crew", 1, None, "pipe", 0, 1, size, 0, len(hosts), command, ("none",), 1, sys.executable,
        "/", dict(os.environ), (), {}, "all", None, None, None, grace_s=1.0,
    )  # fmt: skip
    return SshCrew(request, hosts, There(command, (sys.executable,), "/", False, True), address)


def far(*names: str) -> list[Host]:
    return [Host(name, 1, False) for name in names]


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
    with crew(Host("h1", 2, False), Host("localhost", 1, True)) as one:
        found = events(one)
    assert [output(found, rank) for rank in range(3)] == [b"0 0\n", b"1 0\n", b"2 1\n"]
    assert found[-1] == Done(None, 0)
    assert list(machine.home.iterdir()) == []


def test_no_rank_starts_where_one_host_cannot_have_any(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    start = machine.start

    def some(login: str, command: str, where: str) -> Any:
        if login != "h1":
            raise SubmitError(f"{login}: no")
        return start(login, command, where)

    monkeypatch.setattr(connection, "start", some)
    with crew(*far("h1", "h2"), Host("localhost", 1, True), *far("h3")) as one:
        found = events(one)
    assert found == [Problem(125, "h2: no"), Problem(125, "h3: no"), Done(None, 125)]


def test_an_interpreter_that_is_not_on_this_machine_is_told(machine: Any) -> None:
    one = crew(Host("localhost", 1, True), *far("h2"))
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
    [("10.1.0.1", "10.0.0.1", "10.1.0.1"), ("", "10.0.0.1", "10.0.0.1"), ("", "::1", os.uname().nodename)],
)
def test_ranks_look_for_the_first_host_where_it_was_reached(
    machine: Any, hostfiles: str, own: str, place: str
) -> None:
    machine.before = f"export SSH_CONNECTION='10.0.0.9 1 {own} 22'; "
    with crew(*far("h1", "h2"), program=PLACE, address=hostfiles) as one:
        found = events(one)
    assert [output(found, rank).decode() for rank in (0, 1)] == [f"{place}\n"] * 2


def test_this_machine_is_looked_for_where_the_others_see_it(machine: Any) -> None:
    machine.before = "export SSH_CONNECTION='10.0.0.9 1 10.0.0.1 22'; "
    with crew(Host("localhost", 1, True), *far("h2"), program=PLACE) as one:
        found = events(one)
    assert [output(found, rank) for rank in (0, 1)] == [b"10.0.0.9\n"] * 2


def test_an_interpreter_that_is_named_is_the_only_one() -> None:
    assert pythons("/p") == ("/p",)
    assert pythons(None) == (sys.executable, "python3")
