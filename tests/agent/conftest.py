"""A request with defaults, an agent run to its end, and a family of processes that is hard to end."""

from __future__ import annotations

import dataclasses
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.agent.client import Agent
from jobkit.agent.events import Done, Event, Lost, Output
from jobkit.agent.request import Request

DEADLINE_S = 60.0


@pytest.fixture
def make_request(tmp_path: Path) -> Callable[..., Request]:
    """Return a maker of requests: a command, and whatever differs from the defaults."""

    def make(*command: str, ranks: int = 1, **differs: Any) -> Request:
        request = Request(
            job=f"test-{os.getpid()}-{tmp_path.name}",
            name="test",
            attempt=1,
            run_dir=str(tmp_path / "run"),
            output="pipe",
            first_rank=0,
            local_size=ranks,
            size=ranks,
            node=0,
            nodes=1,
            command=command,
            backend=("any",),
            connections_per_ip=1,
            python=sys.executable,
            workdir=str(tmp_path),
            environ={k: v for k, v in os.environ.items() if not k.startswith("JOBKIT_")},
            setup=(),
            overlay={},
            stdin="none",
            ports=None,
            subnet=None,
            terminal=None,
        )
        return dataclasses.replace(request, **differs)

    return make


def hear(
    agent: Agent, until: Callable[[list[Event]], Any] | None = None, deadline_s: float = DEADLINE_S
) -> list[Event]:
    """Return the events up to the one that makes `until` true, or to the last."""
    events: list[Event] = []
    deadline = time.monotonic() + deadline_s
    while not (until is not None and until(events)) and time.monotonic() < deadline:
        select.select([agent], [], [], 0.1)
        events += agent.receive()
        if events and isinstance(events[-1], Done | Lost):
            break
    return events


@dataclasses.dataclass(frozen=True)
class Ran:
    """What came of a request."""

    events: list[Event]

    @property
    def done(self) -> Done:
        """The last event."""
        assert isinstance(self.events[-1], Done), self.events[-5:]
        return self.events[-1]

    def of(self, kind: type) -> list[Any]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def output(self, rank: int = 0, stream: int = 1) -> bytes:
        """Return everything that a rank wrote."""
        return b"".join(e.data for e in self.of(Output) if (e.rank, e.stream) == (rank, stream))


@pytest.fixture
def listen() -> Callable[..., list[Event]]:
    """Hear an agent until something has come."""
    return hear


@pytest.fixture
def run_agent() -> Callable[[Request], Ran]:
    """Carry out a request to its end."""

    def run(request: Request, stdin: bytes | None = None) -> Ran:
        with Agent.start(request) as agent:
            if stdin is not None:
                agent.send_stdin(stdin)
                agent.end_stdin()
            return Ran(hear(agent))

    return run
