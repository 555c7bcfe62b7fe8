"""The bare engine: N ranks as N threads over loopback, or as processes where a rank must die."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
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


def in_threads(
    hosts: list[list[str]],
    program: Callable[[Any], Any],
    each: Sequence[dict[str, Any]] = (),
    **options: Any,
) -> list[Any]:
    """Run `program(group)` on every rank in a thread of its own; results or exceptions in rank order.

    `each` has options for single ranks.
    """
    results: list[Any] = [None] * len(hosts)

    def rank_main(rank: int) -> None:
        try:
            group = join(rank, hosts, **options, **(each[rank] if each else {}))
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
        hosts: Where they meet.
        processes: In rank order.
    """

    def __init__(self, hosts: list[list[str]], program: Callable[[Any, Any], Any], **options: Any) -> None:
        self.hosts = hosts
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

    def tell(self, rank: int, word: Any) -> None:
        """Send something to the rank's program."""
        self._ends[rank].send(word)

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


class Network:
    """Ranks as programs in network namespaces, each joined to the next by a cable: a /30 each, no routes.

    Attributes:
        hosts: The address list that promises neighbours only: each rank's address on the cable before it.
        spaces: The namespaces, in rank order.
    """

    def __init__(self, n: int, undo: contextlib.ExitStack) -> None:
        self._undo = undo
        self._programs: list[subprocess.Popen[str]] = []
        name = f"jk{os.getpid()}"
        self.spaces = [f"{name}-{rank}" for rank in range(n)]
        for space in self.spaces:
            run("ip", "netns", "add", space)
            undo.callback(run, "ip", "netns", "del", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
        for rank in range(n if n > 2 else 1):
            after = (rank + 1) % n
            near, far = self.device(rank, "near"), self.device(rank, "far")
            ends = (near, "netns", self.spaces[rank]), (far, "netns", self.spaces[after])
            run("ip", "link", "add", *ends[0], "type", "veth", "peer", "name", *ends[1])
            for end, at, last in ((near, rank, 1), (far, after, 2)):
                run("ip", "-n", self.spaces[at], "addr", "add", f"10.77.{rank}.{last}/30", "dev", end)
                run("ip", "-n", self.spaces[at], "link", "set", end, "up")
        before = [(rank - 1) % n for rank in range(n)]
        self.hosts = [[f"10.77.{rank}.2:5000"] for rank in before]
        if n == 2:
            self.hosts = [["10.77.0.1:5000"], ["10.77.0.2:5000"]]

    def device(self, rank: int, end: str) -> str:
        """Return the name of an end of the cable from a rank to the next: near is the rank's own."""
        return f"jk{rank}{end}"

    def inside(self, rank: int, *command: str) -> None:
        """Run a command in a rank's namespace."""
        run("ip", "netns", "exec", self.spaces[rank], *command)

    def start(self, program: str, *arguments: str, **environ: str) -> list[subprocess.Popen[str]]:
        """Start a Python program on every rank: its arguments are its rank, the hosts, and these."""
        for rank, space in enumerate(self.spaces):
            command = [sys.executable, "-c", program, str(rank), json.dumps(self.hosts), *arguments]
            child = subprocess.Popen(
                ["ip", "netns", "exec", space, *command],
                env=os.environ | environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            self._programs.append(child)
            self._undo.callback(child.__exit__, None, None, None)
            self._undo.callback(child.kill)
        return self._programs

    def results(self) -> list[tuple[str, str]]:
        """Return what each program said on its two streams until it ended."""
        return [child.communicate(timeout=DEADLINE_S) for child in self._programs]


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def network() -> Iterator[Callable[[int], Network]]:
    """A function: join n new network namespaces in a ring; skips where there can be none."""
    with contextlib.ExitStack() as undo:

        def make(n: int) -> Network:
            try:
                return Network(n, undo)
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"no network namespaces here: {error}")

        yield make


@pytest.fixture
def connect_rank() -> Callable[..., Any]:
    """`join`: the engine's group for one rank of an address list."""
    return join


@pytest.fixture
def run_threads() -> Callable[..., list[Any]]:
    """`in_threads`: run a program on every rank of an address list."""
    return in_threads
