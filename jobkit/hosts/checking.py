"""Ask hosts what their ranks would find: versions, clocks, ports, devices, and ways to each other."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from jobkit.errors import JobkitError, SubmitError, complaint
from jobkit.hosts import fan_out
from jobkit.hosts.here import Process
from jobkit.remote import connection, session
from jobkit.remote.connection import LostError
from jobkit.remote.there import frames

_FLAG = "--hosts"
_PYTHON_FLAG = "with --agent-python"
_MODULES = ("frames", "check")
_LOOKS = 5  # at a clock

Cell = float | str  # microseconds, or why there is no way


@dataclass(frozen=True)
class Asked:
    """What is asked of a host.

    Attributes:
        name: [USER@]HOST[:PORT], or a Host of the user's ssh_config.
        is_here: Whether it is this machine.
        addresses: At which others reach it.
        ports: That ranks would listen on.
        devices: RDMA devices that they would use.
    """

    name: str
    is_here: bool
    addresses: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What a host says.

    Attributes:
        name: Its own.
        error: Why it says nothing; "" if it does.
        python: The version.
        program: The interpreter.
        jobkit: The version; None without.
        mlx: The version; None without.
        taken: Ports that are in use.
        devices: What is wrong with which device.
        bridge: The bridge of the Thunderbolt ports if it is up; "" if not.
        listens: The port that answers at each address, or why none does.
        skew_s: How far its clock is ahead of this machine's.
        skew_error_s: By how much that may be wrong.
    """

    name: str
    error: str = ""
    python: str = ""
    program: str = ""
    jobkit: str | None = None
    mlx: str | None = None
    taken: tuple[int, ...] = ()
    devices: dict[str, str] = field(default_factory=dict)
    bridge: str = ""
    listens: dict[str, int | str] = field(default_factory=dict)
    skew_s: float = 0.0
    skew_error_s: float = 0.0


@dataclass(frozen=True)
class Report:
    """What is known of all hosts.

    Attributes:
        answers: By host.
        ways: From each host to each: the round trip, or why there is none, by address.
    """

    answers: tuple[Answer, ...]
    ways: tuple[tuple[dict[str, Cell], ...], ...]


class Pipes(Protocol):
    """Where the program runs."""

    login: str

    def write(self, data: bytes) -> None:
        """Write all of the data."""

    def read(self, size: int, /) -> bytes:
        """Return this many bytes, fewer at the end."""

    def readline(self, size: int, /) -> bytes:
        """Return a line with its end."""

    def close(self) -> None:
        """End it."""


def check(hosts: Sequence[Asked], pythons: Sequence[str]) -> Report:
    """Return what all hosts say, and which of them reach which.

    Args:
        hosts: Each once.
        pythons: Interpreters to try, the first that is there.
    """
    token = secrets.token_hex(16)
    by_name = {host.name: host for host in hosts}
    running: dict[str, Pipes] = {}

    def look(name: str) -> Answer:
        pipes, told = _start(by_name[name], pythons, token)
        running[name] = pipes
        skew, error = _clock(pipes)
        return Answer(name, **{**told, "taken": tuple(told["taken"])}, skew_s=skew, skew_error_s=error)

    def reach(name: str) -> list[Cell]:
        pipes = running[name]
        _send(pipes, {}, others=[[address, port] for _, address, port in targets])
        return _read(pipes)["found"]  # type: ignore[no-any-return]

    try:
        answers = _answers(by_name, fan_out.each(list(by_name), look))
        targets = [
            (answer.name, address, port)
            for answer in answers
            for address, port in answer.listens.items()
            if isinstance(port, int)
        ]
        able = [answer.name for answer in answers if not answer.error]
        found = dict(zip(able, fan_out.each(able, reach), strict=True))
    finally:
        for pipes in running.values():
            with contextlib.suppress(JobkitError, OSError):
                pipes.close()
    return Report(answers, _ways(answers, targets, found))


def _answers(hosts: dict[str, Asked], found: Sequence[Answer | JobkitError]) -> tuple[Answer, ...]:
    return tuple(
        answer if isinstance(answer, Answer) else Answer(name, str(answer))
        for name, answer in zip(hosts, found, strict=True)
    )


def _ways(
    answers: tuple[Answer, ...],
    targets: Sequence[tuple[str, str, int]],
    found: dict[str, list[Cell] | JobkitError],
) -> tuple[tuple[dict[str, Cell], ...], ...]:
    rows = []
    for near in answers:
        own = found.get(near.name, [])
        cells: list[Cell] = [str(own)] * len(targets) if isinstance(own, JobkitError) else own
        row: dict[str, dict[str, Cell]] = {far.name: {} for far in answers}
        for (name, address, _), cell in zip(targets, cells, strict=False):
            if name != near.name:
                row[name][address] = cell
        rows.append(tuple(row.values()))
    return tuple(rows)


def _start(host: Asked, pythons: Sequence[str], token: str) -> tuple[Pipes, dict[str, Any]]:
    """Return the program on a host, in the first interpreter that is there, and what it says."""
    about = (host.addresses, host.ports, host.devices, token)
    pipes: Any
    if host.is_here:
        pipes, pythons = Process(host.name, [pythons[0], "-c", session.LOADER]), pythons[:1]
    else:
        pipes = connection.start(host.name, session.command(pythons[0]), _FLAG)
    try:
        for following in (*pythons[1:], None):
            try:
                return pipes, _hello(pipes, about)
            except LostError:
                raise
            except SubmitError:
                if following is None:
                    raise
                pipes = pipes.another(session.command(following))
    except BaseException:
        pipes.close()
        raise
    raise AssertionError("the last one returns or raises")


def _hello(pipes: Any, about: Sequence[object]) -> dict[str, Any]:
    marker = secrets.token_hex(16)
    with contextlib.suppress(BrokenPipeError):  # what has ended is told below
        pipes.write(session.program(marker, _MODULES, "check.main", *about))
    session.skip_to(pipes, marker, _PYTHON_FLAG)
    found = _read(pipes)
    if "old" in found:
        wrong = "its Python is too old"
        hint = f"name another interpreter on {pipes.login} {_PYTHON_FLAG}"
        raise SubmitError(complaint(pipes.login, wrong, got=found["old"], expected=session.OLDEST, hint=hint))
    del found["size"]
    return found


def _clock(pipes: Pipes) -> tuple[float, float]:
    """Return how far the clock there is ahead of this one's, and by how much that may be wrong; seconds."""
    looks = []
    for _ in range(_LOOKS):
        before = time.time()
        _send(pipes, {})
        there = float(_read(pipes)["time"])
        after = time.time()
        looks.append((after - before, there - (before + after) / 2))
    took, skew = min(looks)
    return skew, took / 2


def _send(pipes: Pipes, head: dict[str, Any], **more: Any) -> None:
    try:
        pipes.write(frames.packed({**head, **more}))
    except BrokenPipeError:
        raise LostError(complaint(pipes.login, "the check there has ended")) from None


def _read(pipes: Pipes) -> dict[str, Any]:
    try:
        return frames.read(pipes)[0]
    except (EOFError, ValueError, KeyError, TypeError) as error:
        raise SubmitError(complaint(pipes.login, f"answers what is no answer: {error}")) from error
