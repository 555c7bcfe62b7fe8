from __future__ import annotations

from jobkit.agent.events import Done, Lost, Problem
from jobkit.env.record import RankExit


def test_events_are_values() -> None:
    assert Problem(125, "text") == Problem(status=125, message="text", rank=None)
    assert Done(None, 0) != Done(None, 1)
    assert Lost("gone").message == "gone"


def test_an_exit_says_everything_that_its_record_does() -> None:
    ended = RankExit(0, "a", 137, "SIGKILL", True, None, "signal", "t0", "t1", 2)
    assert (ended.status, ended.signal, ended.ended_by_jobkit) == (137, "SIGKILL", True)
