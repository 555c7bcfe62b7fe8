from __future__ import annotations

import select
import sys
import time
from pathlib import Path

import pytest

from jobkit.agent.events import Done, Event, Output, Problem
from jobkit.agent.request import Request
from jobkit.remote.kept import KeptCrew
from jobkit.remote.places import Place

DEADLINE_S = 60.0
SHOWN = "echo $PWD $JOBKIT_RUN_DIR ${OF_LOGIN-none} $JOBKIT_RANK"


def run(*places: Place, point: str | None = None, inherit: bool = True) -> tuple[KeptCrew, list[Event]]:
    command = ("sh", "-c", SHOWN)
    size = sum(len(place.ranks) for place in places)
    request = Request(
        "a", "a", 1, "/here", "pipe", 0, 1, size, 0, len(places), command, ("none",), 1, "/here/python",
        "/here", {}, (), {}, "none", None, None, None, grace_s=1.0,
    )  # fmt: skip
    found: list[Event] = []
    deadline = time.monotonic() + DEADLINE_S
    with KeptCrew(request, places, point, inherit=inherit) as crew:
        while not (found and isinstance(found[-1], Done)):
            assert time.monotonic() < deadline, found
            select.select([crew], [], [], 1.0)
            found += crew.receive()
    return crew, found


def place(folder: Path, *ranks: int, python: str = sys.executable) -> Place:
    return Place("h1", ranks, python, None, str(folder), "/usr")


def written(found: list[Event]) -> bytes:
    return b"".join(event.data for event in found if isinstance(event, Output))


@pytest.mark.parametrize(("inherit", "login"), [(True, "yes"), (False, "none")])
def test_ranks_start_where_their_host_has_the_job(machine, tmp_path: Path, inherit: bool, login: str) -> None:
    machine.before = "export OF_LOGIN=yes; "
    crew, found = run(place(tmp_path, 0), point="3", inherit=inherit)
    assert written(found).decode() == f"/usr {tmp_path}/3 {login} 0\n"
    assert (found[-1], crew.lost) == (Done(None, 0), False)


def test_an_interpreter_that_has_gone_is_told(machine, tmp_path: Path) -> None:
    _, found = run(place(tmp_path, 0, python="/no/such/python"))
    assert isinstance(found[0], Problem)
    assert "has no Python" in found[0].message
    assert found[-1] == Done(None, 125)
