"""Ranks as processes that run the functions of a test."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# What a rank does: read (source, name, arguments), define the function, call it with a `rank` that carries
# the group, answer (True, result) or (False, type of the exception, its text).
SERVE = """
import os, pickle, struct, sys, types

answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)

def answer(value):
    data = pickle.dumps(value)
    answers.write(struct.pack("<Q", len(data)) + data)
    answers.flush()

import time
import mlx.core as mx, mlx.nn as nn, mlx.utils, numpy as np
import jobkit.native as dist
from jobkit.native import mlx as bridge

native = dist.init(strict=True)
group = bridge.group(native)
rank = types.SimpleNamespace(rank=native.rank(), size=native.size(), native=native, group=group)
names = {"mx": mx, "nn": nn, "mlx": mlx, "np": np, "dist": dist, "bridge": bridge, "time": time, "os": os}
answer("ready")
while header := sys.stdin.buffer.read(8):
    source, name, arguments = pickle.loads(sys.stdin.buffer.read(struct.unpack("<Q", header)[0]))
    space = dict(names)
    exec(source, space)
    try:
        answer((True, space[name](rank, *arguments)))
    except BaseException as error:
        answer((False, type(error).__name__, str(error)))
"""


def hostfile(folder: Path, size: int) -> Path:
    """Write a ring hostfile of free ports."""
    sockets = [socket.socket() for _ in range(size)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    file = folder / f"ring-{size}.json"
    file.write_text(json.dumps([[f"127.0.0.1:{each.getsockname()[1]}"] for each in sockets]))
    for each in sockets:
        each.close()
    return file


class Raised(Exception):
    """A function raised on a rank."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text


class Ranks:
    """Some ranks of one group, each a process that runs the functions it is given."""

    def __init__(self, size: int, folder: Path, **environ: str) -> None:
        file = hostfile(folder, size)
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", SERVE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "MLX_RANK": str(rank), "MLX_HOSTFILE": str(file), **environ},
            )
            for rank in range(size)
        ]
        assert self.answers() == ["ready"] * size

    def start(self, function: Callable[..., Any], *arguments: Any, on: list[int] | None = None) -> None:
        """Have the ranks call a function of the test, `function(rank, *arguments)`.

        Its source is what they get: it sees `mx`, `nn`, `mlx`, `np`, `dist`, `bridge`, `time`, `os`, no more.
        """
        source = textwrap.dedent(inspect.getsource(function))
        data = pickle.dumps((f"from __future__ import annotations\n{source}", function.__name__, arguments))
        for rank in range(len(self.processes)) if on is None else on:
            pipe = self.processes[rank].stdin
            assert pipe is not None
            pipe.write(struct.pack("<Q", len(data)) + data)
            pipe.flush()

    def answers(self, on: list[int] | None = None, timeout_s: float = 60.0) -> list[Any]:
        """Return what each rank answers, in rank order."""
        deadline = time.monotonic() + timeout_s
        ranks = range(len(self.processes)) if on is None else on
        return [pickle.loads(self._read(rank, deadline)) for rank in ranks]

    def _read(self, rank: int, deadline: float) -> bytes:
        pipe = self.processes[rank].stdout
        assert pipe is not None
        data, wanted = b"", 8
        while len(data) < wanted:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([pipe], [], [], left)[0], f"rank {rank} does not answer"
            more = os.read(pipe.fileno(), wanted - len(data))
            assert more, f"rank {rank} has ended with {self.processes[rank].wait(5)}"
            data += more
            if len(data) == 8 == wanted:
                wanted += struct.unpack("<Q", data)[0]
        return data[8:]

    def outcomes(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Return what the function returned on each rank, a `Raised` where it raised."""
        self.start(function, *arguments)
        return [given[1] if given[0] else Raised(*given[1:]) for given in self.answers()]

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Return what the function returned on each rank; raises where it raised."""
        found = self.outcomes(function, *arguments)
        for outcome in found:
            if isinstance(outcome, Raised):
                raise outcome
        return found

    def end(self) -> None:
        """End every rank, by force if need be."""
        for process in self.processes:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            assert process.stdout is not None
            process.stdout.close()


StartRanks = Callable[..., Ranks]


@pytest.fixture(scope="session")
def _shared_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Ranks]]:
    made: dict[int, Ranks] = {}

    def ranks(size: int) -> Ranks:
        if size not in made:
            made[size] = Ranks(size, tmp_path_factory.mktemp("ring"))
        return made[size]

    yield ranks
    for each in made.values():
        each.end()


@pytest.fixture
def pair(_shared_ranks: Callable[[int], Ranks]) -> Ranks:
    """Two ranks that all tests share: nothing may break their group."""
    return _shared_ranks(2)


@pytest.fixture
def trio(_shared_ranks: Callable[[int], Ranks]) -> Ranks:
    """Three ranks that all tests share: nothing may break their group."""
    return _shared_ranks(3)


@pytest.fixture
def start_ranks(tmp_path: Path) -> Iterator[StartRanks]:
    """Starts ranks of the test's own, which it may break: `start_ranks(size, NAME="value")`."""
    made: list[Ranks] = []

    def start(size: int, **environ: str) -> Ranks:
        made.append(Ranks(size, tmp_path, **environ))
        return made[-1]

    yield start
    for each in made:
        each.end()


@pytest.fixture
def ring_hostfile(tmp_path: Path) -> Callable[[int], Path]:
    """Writes a ring hostfile of free ports: `ring_hostfile(size)`."""
    return lambda size: hostfile(tmp_path, size)
