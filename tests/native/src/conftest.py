"""The bare engine: N ranks as N threads over loopback, or as processes where a rank must die."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

DEADLINE_S = 60.0
TOKEN = bytes(range(32))


def join(rank: int, hosts: list[list[str]], **options: Any) -> Any:
    """Return the engine's group for `rank`; `options` replace the defaults of `_core.connect`."""
    from jobkit.native import _core

    given: dict[str, Any] = {
        "mode": "gang",
        "job": "engine test",
        "epoch": 0,
        "token": TOKEN,
        "connect_timeout_s": 30.0,
        "timeout_s": 30.0,
        "heartbeat_s": 1.0,
        "verbose": False,
    }
    return _core.connect(rank, hosts, **(given | options))


def loopback(ports: list[int], per_rank: int = 1) -> list[list[str]]:
    """Return an address list: `per_rank` loopback addresses for each rank."""
    each = [f"127.0.0.1:{port}" for port in ports]
    return [each[i : i + per_rank] for i in range(0, len(each), per_rank)]


def in_threads(hosts: list[list[str]], program: Callable[[Any], Any], **options: Any) -> list[Any]:
    """Run `program(group)` on every rank in a thread of its own; results or exceptions in rank order."""
    results: list[Any] = [None] * len(hosts)

    def rank_main(rank: int) -> None:
        try:
            group = join(rank, hosts, **options)
            try:
                results[rank] = program(group)
            finally:
                group.close()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            results[rank] = error

    threads = [threading.Thread(target=rank_main, args=(rank,), daemon=True) for rank in range(len(hosts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert not any(thread.is_alive() for thread in threads), "a rank hangs"
    return results


def _child(
    program: Callable[[Any, Any], Any], rank: int, hosts: list[list[str]], options: dict[str, Any], pipe: Any
) -> None:
    try:
        group = join(rank, hosts, **options)
        pipe.send(program(group, pipe))
        group.close()
    except Exception as error:  # noqa: BLE001 - handed to the test
        pipe.send((type(error).__name__, str(error), getattr(error, "culprit", None)))
    except KeyboardInterrupt:
        pipe.send("KeyboardInterrupt")


class Ranks:
    """Ranks that are processes.

    Attributes:
        processes: In rank order.
    """

    def __init__(self, hosts: list[list[str]], program: Callable[[Any, Any], Any], **options: Any) -> None:
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in hosts]
        self._ends = [mine for mine, _ in pipes]
        self.processes = [
            context.Process(target=_child, args=(program, rank, hosts, options, pipes[rank][1]), daemon=True)
            for rank in range(len(hosts))
        ]
        for process in self.processes:
            process.start()
        for _, theirs in pipes:
            theirs.close()

    def receive(self, rank: int) -> Any:
        """Return what the rank sent next: a word of its program, its result, or its error as a tuple."""
        assert self._ends[rank].poll(DEADLINE_S), f"nothing came from rank {rank}"
        return self._ends[rank].recv()

    def signal(self, rank: int, number: int) -> None:
        """Send the rank a signal."""
        os.kill(self.processes[rank].pid or 0, number)

    def end(self) -> None:
        """Leave no process behind."""
        for process in self.processes:
            process.kill()
            process.join()
        for end in self._ends:
            end.close()


@pytest.fixture
def threads(reserve_ports: Callable[[int], Any]) -> Callable[..., list[Any]]:
    """A function: run `program(group)` on n ranks; its first exception is raised unless `check` is off."""

    def run(
        n: int, program: Callable[[Any], Any], *, check: bool = True, per_rank: int = 1, **options: Any
    ) -> list[Any]:
        with reserve_ports(n * per_rank) as ports:
            results = in_threads(loopback(ports, per_rank), program, **options)
        for result in results:
            if check and isinstance(result, BaseException):
                raise result
        return results

    return run


@pytest.fixture
def processes(reserve_ports: Callable[[int], Any]) -> Iterator[Callable[..., Ranks]]:
    """A function: start n ranks that run `program(group, pipe)`, a function of the test's module."""
    with contextlib.ExitStack() as stack:

        def start(n: int, program: Callable[[Any, Any], Any], **options: Any) -> Ranks:
            ports = stack.enter_context(reserve_ports(n))
            ranks = Ranks(loopback(ports), program, **options)
            stack.callback(ranks.end)
            return ranks

        yield start


@pytest.fixture
def connect_rank() -> Callable[..., Any]:
    """`join`: the engine's group for one rank of an address list."""
    return join


@pytest.fixture
def run_threads() -> Callable[..., list[Any]]:
    """`in_threads`: run a program on every rank of an address list."""
    return in_threads
