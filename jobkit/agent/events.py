"""What an agent reports, in order, over its standard output."""

from __future__ import annotations

from dataclasses import dataclass

from jobkit.env.record import RankExit


@dataclass(frozen=True)
class Started:
    """A rank's own program runs, in process `pid`."""

    rank: int
    pid: int


@dataclass(frozen=True)
class Output:
    """Bytes that a rank wrote to stream 1 or 2, as they came."""

    rank: int
    stream: int
    data: bytes


@dataclass(frozen=True)
class Exited:
    """A rank has ended."""

    exit: RankExit


@dataclass(frozen=True)
class Problem:
    """Something went wrong beside the program.

    Attributes:
        status: The exit status it gives the job; 0 where the job goes on.
        message: What is wrong, for the user.
        rank: The rank concerned, None for all.
    """

    status: int
    message: str
    rank: int | None = None


@dataclass(frozen=True)
class Done:
    """Everything has ended; the last event.

    Attributes:
        first: The exit that gives the status; None where none does (success, cancelled, a failing setup
        line).
        status: The job's exit status.
    """

    first: RankExit | None
    status: int


@dataclass(frozen=True)
class Lost:
    """The agent is gone without having said so."""

    message: str


Event = Started | Output | Exited | Problem | Done | Lost
