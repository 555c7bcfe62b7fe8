from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobkit.agent.client import Agent
from jobkit.agent.events import Done, Lost, Output, Started
from jobkit.agent.request import Request
from jobkit.agent.wire import STDIN_WINDOW
from jobkit.errors import LaunchError

Make = Callable[..., Request]


def test_leaving_ends_the_job(
    make_request: Make, listen: Callable[..., Any], alive: Callable[[int], bool]
) -> None:
    with Agent.start(make_request("sleep", "600")) as agent:
        (started,) = listen(agent, lambda events: any(isinstance(e, Started) for e in events))
        assert alive(started.pid)
    assert not alive(started.pid)


def test_after_the_last_event_there_is_nothing(make_request: Make, listen: Callable[..., Any]) -> None:
    with Agent.start(make_request("true")) as agent:
        assert isinstance(listen(agent)[-1], Done)
        assert agent.receive() == []
        agent.signal("INT")
        agent.terminate()
        agent.ping()


def test_room_for_input_comes_back_as_the_ranks_read(make_request: Make, listen: Callable[..., Any]) -> None:
    with Agent.start(make_request("sh", "-c", "cat >/dev/null", stdin="all")) as agent:
        agent.send_stdin(b"x" * STDIN_WINDOW)
        assert agent.stdin_room == 0
        listen(agent, lambda _: agent.stdin_room == STDIN_WINDOW)
        assert agent.stdin_room == STDIN_WINDOW
        agent.end_stdin()
        assert isinstance(listen(agent)[-1], Done)


def test_closing_twice_is_no_error(make_request: Make) -> None:
    agent = Agent.start(make_request("sleep", "600"))
    agent.close()
    agent.close()


def test_closing_an_agent_with_output_that_nobody_read_returns(
    make_request: Make, listen: Callable[..., Any]
) -> None:
    with Agent.start(make_request("yes")) as agent:
        listen(agent, lambda events: any(isinstance(e, Output) for e in events))


def test_an_interpreter_that_is_not_there_is_named(make_request: Make) -> None:
    with pytest.raises(LaunchError, match="/no/such/python: the agent cannot be started"):
        Agent.start(make_request("true"), python="/no/such/python")


def test_an_interpreter_without_jobkit_is_a_lost_agent(
    make_request: Make, listen: Callable[..., Any]
) -> None:
    with Agent.start(make_request("true"), python="/bin/true") as agent:
        assert isinstance(listen(agent)[-1], Lost)
