"""Agents of several "hosts", all of them this one: a shell takes the place of the schedulers' starters."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobkit.agent import introduction
from jobkit.agent.batch import BatchCrew, Starter
from jobkit.agent.events import Done, Event, Exited, Output, Problem, Started
from jobkit.agent.request import Request
from jobkit.errors import LaunchError

Make = Callable[..., BatchCrew]
DEADLINE_S = 60.0


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make a crew of two hosts with a rank each; `script` gets the relay's command as its arguments."""
    crews = []

    def crew(program: str, script: str = 'exec "$@"', **asked: Any) -> BatchCrew:
        request = Request(
            "crew", "crew", 1, str(tmp_path / "run"), "pipe", 0, 1, 2, 0, 2, ("sh", "-c", program), ("none",),
            1, sys.executable, "/", dict(os.environ), (), {}, "all", None, None, None, grace_s=1.0,
        )  # fmt: skip
        starters = [Starter(("sh", "-c", script, "starter"), str(node), (node,)) for node in range(2)]
        crews.append(BatchCrew(replace(request, **asked), (("h0", 1), ("h1", 1)), starters, os.environ))
        return crews[-1]

    yield crew
    for one in crews:
        one.close()


def events(crew: BatchCrew, until: type[Event] = Done, count: int = 1) -> list[Event]:
    """Return what comes until so many events of a kind have come."""
    found: list[Event] = []
    deadline = time.monotonic() + DEADLINE_S
    while sum(isinstance(event, until) for event in found) < count:
        assert time.monotonic() < deadline, found
        select.select([crew], [], [], 1.0)
        found += crew.receive()
    return found


def done(found: list[Event]) -> Done:
    last = found[-1]
    assert isinstance(last, Done)
    return last


def problems(found: list[Event]) -> list[str]:
    return [event.message for event in found if isinstance(event, Problem)]


def test_it_is_one_agent_with_the_ranks_of_all(make: Make) -> None:
    with make("echo $JOBKIT_RANK of $JOBKIT_SIZE on $JOBKIT_NODE; cat") as crew:
        while not crew.stdin_room:
            crew.receive()
        crew.send_stdin(b"hello\n")
        crew.end_stdin()
        found = events(crew)
    outputs = {
        rank: b"".join(e.data for e in found if isinstance(e, Output) and e.rank == rank) for rank in (0, 1)
    }
    assert outputs == {rank: f"{rank} of 2 on {rank}\nhello\n".encode() for rank in (0, 1)}
    assert done(found) == Done(None, 0)
    assert crew.receive() == []


def test_the_first_failure_of_all_hosts_ends_the_others_and_gives_the_status(make: Make) -> None:
    with make("test $JOBKIT_RANK = 0 || exit 7; exec sleep 600") as crew:
        found = events(crew)
    first = done(found).first
    assert first is not None
    assert (first.rank, first.status, done(found).status) == (1, 7, 7)
    assert {e.exit.rank: e.exit.ended_by_jobkit for e in found if isinstance(e, Exited)} == {
        0: True,
        1: False,
    }


def test_a_rank_that_blames_one_of_another_host_lets_it_fail_first(make: Make) -> None:
    blame = "echo '{\"victim_of\": 1}' > $JOBKIT_RUN_DIR/attempt-1/rank-0.victim.json; exit 1"
    culprit = "until test -e $JOBKIT_RUN_DIR/attempt-1/rank-0.exit.json; do sleep 0.02; done; exit 5"
    with make(f"if test $JOBKIT_RANK = 0; then {blame}; else {culprit}; fi") as crew:
        assert done(events(crew)).status == 5


def test_a_culprit_that_does_not_fail_is_not_waited_for(make: Make) -> None:
    blame = "echo '{\"victim_of\": 1}' > $JOBKIT_RUN_DIR/attempt-1/rank-0.victim.json; exit 4"
    with make(f"test $JOBKIT_RANK = 1 || {{ {blame}; }}; exec sleep 600") as crew:
        assert done(events(crew)).status == 4


def test_what_is_wrong_on_every_host_is_told_once(make: Make) -> None:
    with make("", command=("no-such-program",)) as crew:
        found = events(crew)
    assert done(found).status == 127
    assert len(problems(found)) == 1


def test_a_host_that_is_lost_is_told_and_the_others_end(make: Make, tmp_path: Path) -> None:
    # The relay of the second host is killed.
    pids = tmp_path / "pids"
    pids.mkdir()
    with make(
        "exec sleep 600",
        script=f'last() {{ shift $(($# - 1)); echo $1; }}; echo $$ > {pids}/$(last "$@"); exec "$@"',
    ) as crew:
        events(crew, Started, 2)
        os.kill(int((pids / "1").read_text()), signal.SIGKILL)
        found = events(crew)
    assert done(found) == Done(None, 125)
    assert len(problems(found)) == 1
    assert problems(found)[0].startswith("h1: ")


def test_a_starter_that_cannot_reach_its_host_is_told(make: Make) -> None:
    with make("exec sleep 600", script="exit 3") as crew:
        found = events(crew)
    assert done(found) == Done(None, 125)
    assert problems(found) == ["h0: sh ended with status 3 before the ranks had"]


def test_a_starter_that_cannot_be_run_is_refused_and_leaves_nothing(make: Make, tmp_path: Path) -> None:
    crew = make("true")
    crew._starters = [Starter(("/no/such/starter",), "0", (0,))]
    with pytest.raises(LaunchError, match="/no/such/starter: cannot be started"):
        crew.__enter__()
    assert list((tmp_path / "run").iterdir()) == []


def test_it_can_be_ended_before_a_host_has_called(make: Make) -> None:
    with make("exec sleep 600", script="exec sleep 600") as crew:
        crew.terminate()
        assert done(events(crew)).status == 143


def test_strangers_are_let_go(make: Make, tmp_path: Path) -> None:
    with make(
        "true", script='until test -e /$0/go; do sleep 0.02; done; exec "$@"'.replace("/$0", str(tmp_path))
    ) as crew:
        (file,) = (tmp_path / "run").glob("launch-*.json")
        assert file.stat().st_mode & 0o777 == 0o600
        port = json.loads(file.read_text())["port"]
        for said in (b"", b"GET / HTTP/1.1\n", introduction.hello("00" * 32, "n", {"node": 0})[0].encode()):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.settimeout(0.05)
                stranger.sendall(said)
                stranger.shutdown(socket.SHUT_WR)
                assert _last(crew, stranger) == b""
        (tmp_path / "go").touch()
        assert done(events(crew)).status == 0


def _last(crew: BatchCrew, stranger: socket.socket) -> bytes:
    """Return what is left to read when the other side has hung up."""
    while True:
        crew.receive()
        try:
            if not stranger.recv(4096):
                return b""
        except TimeoutError:
            continue
