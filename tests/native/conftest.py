"""N ranks as N threads of the test, over loopback, through the real engine."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from jobkit import native
from jobkit.native.group import Group

T = TypeVar("T")
DEADLINE_S = 120.0
TOKEN = bytes(range(32))


@contextlib.contextmanager
def reserved_ports(n: int) -> Iterator[list[int]]:
    """Hold n free ports as the shim does: bound without an option, SO_REUSEPORT set after, not listening."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield [each.getsockname()[1] for each in sockets]


def connect(
    rank: int, ports: list[int], job: str, token: bytes, timeout_s: float, shared_memory: bool = False
) -> Group:
    """Return rank's group of a world that meets on loopback."""
    core = importlib.import_module("jobkit.native._core").connect(
        rank,
        [[f"127.0.0.1:{port}"] for port in ports],
        mode="gang",
        job=job,
        epoch=0,
        token=token,
        connect_timeout_s=30.0,
        timeout_s=timeout_s,
        heartbeat_s=1.0,
        verbose=False,
        shared_memory=shared_memory,
    )
    return Group(core, backend="ring", is_authenticated=bool(token))


def _run(
    n: int,
    program: Callable[[Group], T],
    *,
    token: bytes = TOKEN,
    timeout_s: float = 60.0,
    check: bool = True,
    shared_memory: bool = False,
    deadline_s: float = DEADLINE_S,
) -> list[Any]:
    results: list[Any] = [None] * n
    job = uuid.uuid4().hex

    def rank_main(rank: int, ports: list[int]) -> None:
        try:
            with contextlib.closing(connect(rank, ports, job, token, timeout_s, shared_memory)) as group:
                results[rank] = program(group)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            results[rank] = error

    with reserved_ports(n) as ports:
        threads = [threading.Thread(target=rank_main, args=(rank, ports), daemon=True) for rank in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(deadline_s)
        assert not any(thread.is_alive() for thread in threads), "a rank hangs"
    failures = [result for result in results if isinstance(result, BaseException)]
    if check and failures:
        raise failures[0]
    return results


@pytest.fixture
def reserve_ports() -> Callable[[int], contextlib.AbstractContextManager[list[int]]]:
    """`reserved_ports`, for tests that start processes."""
    return reserved_ports


@pytest.fixture
def run_ranks() -> Callable[..., list[Any]]:
    """A function: run `program(group)` on n connected ranks, return the results in rank order.

    The first exception is raised; with `check=False` exceptions are results.
    """
    return _run


PRELUDE = """
import os, signal, sys, threading, time
import numpy as np
import jobkit.native as dist
from jobkit.errors import BackendError

world = dist.init(strict=True)
"""


@pytest.fixture
def run_processes(tmp_path: Path) -> Callable[..., list[str]]:
    """A function: run a program text as n processes with `world`, `dist`, `np`; their stdout in rank order.

    A process that fails fails the test. Named arguments are environment variables; `before` runs first.
    """

    def run(n: int, source: str, before: str = "", **environ: str) -> list[str]:
        program = before + PRELUDE + textwrap.dedent(source)
        with reserved_ports(n) as ports:
            hosts = tmp_path / "hosts.json"
            hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in ports]))
            ranks = [
                subprocess.Popen(
                    [sys.executable, "-c", program],
                    env=os.environ
                    | {"XDG_CACHE_HOME": str(tmp_path)}
                    | environ
                    | {"MLX_HOSTFILE": str(hosts), "MLX_RANK": str(rank)},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                for rank in range(n)
            ]
            try:
                ends = [rank.communicate(timeout=DEADLINE_S) for rank in ranks]
            finally:
                for rank in ranks:
                    rank.kill()
        for rank, (_, errors) in zip(ranks, ends, strict=True):
            assert rank.returncode == 0, errors
        return [output for output, _ in ends]

    return run


@pytest.fixture(scope="session")
def standin() -> Path:
    """The stand-in for libibverbs, compiled; skips where there is no C compiler."""
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    repository = Path(__file__).resolve().parents[2]
    source = repository / "tests" / "native" / "src" / "standin" / "ibverbs.c"
    headers = repository / "jobkit" / "native" / "src"
    made = repository / "build" / "standin" / "libibverbs.so.1"
    made.parent.mkdir(parents=True, exist_ok=True)
    with (made.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        newest = max(source.stat().st_mtime, (headers / "verbs_abi.h").stat().st_mtime)
        if not made.exists() or made.stat().st_mtime < newest:
            flags = ["-Wall", "-Wextra", "-Werror", "-O2", "-fPIC", "-shared", f"-I{headers}"]
            subprocess.run([compiler, *flags, "-o", str(made), str(source)], check=True)
    return made


class Cabled:
    """Ranks that are processes, each with devices of its own that lead to the others.

    Attributes:
        fabric: The folder that connects the devices.
        environ: What every rank gets; to be changed before the start.
        ranks: The processes, in rank order.
    """

    def __init__(self, standin: Path, folder: Path, n: int, port: int, n_cables: int = 1) -> None:
        self.fabric = folder / f"fabric-{port}"
        (self.fabric / "down").mkdir(parents=True)
        (self.fabric / "cut").mkdir()
        self.matrix: list[list[list[str]]] = [
            [[f"r{i}to{j}.{k}" for k in range(n_cables)] if i != j else [] for j in range(n)]
            for i in range(n)
        ]
        self.environ = {
            "XDG_CACHE_HOME": str(folder),
            "JOBKIT_JACCL_LIBRARY": str(standin),
            "STANDIN_FABRIC": str(self.fabric),
            "MLX_JACCL_COORDINATOR": f"127.0.0.1:{port}",
        }
        self.ranks: list[subprocess.Popen[str]] = []

    def start(self, source: str, before: str = "", **environ: str) -> None:
        """Start a program text on every rank, with `world`, `dist` and `np`."""
        file = self.fabric / "devices.json"
        file.write_text(json.dumps([[cell or None for cell in row] for row in self.matrix]))
        program = (
            before + PRELUDE.replace("strict=True", 'strict=True, backend="jaccl"') + textwrap.dedent(source)
        )
        self.ranks = [
            subprocess.Popen(
                [sys.executable, "-c", program],
                env=os.environ
                | self.environ
                | {
                    "MLX_IBV_DEVICES": str(file),
                    "MLX_RANK": str(rank),
                    "STANDIN_DEVICES": ",".join(sorted({name for cell in row for name in cell})) or "none",
                }
                | environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank, row in enumerate(self.matrix)
        ]

    def said(self, rank: int) -> str:
        """Return the next line of a rank's output."""
        stream = self.ranks[rank].stdout
        assert stream is not None
        return stream.readline().strip()

    def tell(self, rank: int) -> None:
        """Give a rank that reads a line one."""
        stream = self.ranks[rank].stdin
        assert stream is not None
        stream.write("\n")
        stream.flush()

    def pull(self, device: str, kind: str = "down") -> None:
        """Take the port of a device down, or cut its cable where nobody notices."""
        (self.fabric / kind / device).touch()

    def outputs(self) -> list[str]:
        """Return what each rank said to its end; a rank that failed fails the test."""
        ends = [rank.communicate(timeout=DEADLINE_S) for rank in self.ranks]
        for rank, (_, errors) in zip(self.ranks, ends, strict=True):
            assert rank.returncode == 0, errors
        return [output for output, _ in ends]

    def end(self) -> None:
        """Leave no process behind."""
        for rank in self.ranks:
            rank.kill()
            with rank:  # its streams, and its end
                pass


@pytest.fixture
def cabled(standin: Path, tmp_path: Path) -> Iterator[Callable[..., Cabled]]:
    """A function: n ranks to be started, connected by cables of the stand-in."""
    pytest.importorskip("jobkit.native._core")
    with contextlib.ExitStack() as stack:

        def make(n: int, *, n_cables: int = 1, mode: str = "rc") -> Cabled:
            (port,) = stack.enter_context(reserved_ports(1))
            made = Cabled(standin, tmp_path, n, port, n_cables)
            made.environ["STANDIN_MODE"] = mode
            stack.callback(made.end)
            return made

        yield make


@pytest.fixture(autouse=True)
def _no_group_is_left() -> Iterator[None]:
    """Forget the groups that a test's calls of `init` formed."""
    yield
    native.shutdown()
