"""One rank of a contender: does what the driver says, a line of JSON each way, and sleeps in between.

    {"do": "load"}     → {}
    {"do": "init"}     → {"rank": 0, "size": 2, "version": "MPICH 5.0.2", "seconds": 0.1}
    {"do": "run", …}   → {"form": "out", "seconds": …, "p50": …, "p99": …, "cpu": …, "wrong": 0}
    {"do": "idle", …}  → {"wall": 2.0, "cpu": 0.01}
    {"do": "memory"}   → {"rss": …, "pss": …}
    {"do": "overhead"} → {"engine": …, "out": …, "alloc": …}
    {"do": "quit"}     → the end

or `{"unserved": why}`, or `{"error": text}`. The lines travel over a socket, since the launchers of MPI pass
standard input on to rank 0 only.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib.util
import json
import os
import resource
import socket
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from itertools import repeat
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from . import pattern
from .library import Call, Library, UnservedError

SOCKET, LIFELINE = "driver.sock", "lifeline"
_ALONE = 1000  # calls that are timed one by one, at most


def main(words: list[str]) -> int:
    """Serve the driver in FOLDER with LIBRARY until its end."""
    name, folder = words
    _end_with_the_driver(f"{folder}/{LIFELINE}")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{folder}/{SOCKET}")
        with connection.makefile("rw", encoding="utf-8") as stream:
            _say(stream, {"pid": os.getpid()})
            Worker(name).serve(stream)
    return 0


def _end_with_the_driver(lifeline: str) -> None:
    """Let the kernel end this process when the driver is gone: no thread, and no waiting for the GIL.

    The driver holds the writing end of a named pipe and never writes. Its end raises SIGIO here, which ends a
    process on Linux. macOS ignores it: there a driver that was killed leaves ranks in a call behind.
    """
    fd = os.open(lifeline, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with contextlib.suppress(AttributeError):  # no O_ASYNC for this system
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    with contextlib.suppress(BlockingIOError):  # there is a writer
        if os.read(fd, 1) == b"":
            sys.exit("the driver is gone")


def _say(stream: Any, reply: dict[str, Any]) -> None:
    stream.write(json.dumps(reply) + "\n")
    stream.flush()


class Worker:
    """A library and what it is told to do."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._library = Library()
        self._imported: dict[str, int] = {}

    def serve(self, stream: Any) -> None:
        """Answer each line until the end of the stream or `quit`."""
        for line in stream:
            command = json.loads(line)
            if command["do"] == "quit":
                break
            _say(stream, self._answer(command))
        self._library.close()

    def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        what: Callable[[dict[str, Any]], dict[str, Any]] = getattr(self, f"do_{command['do']}")
        try:
            return what(command)
        except UnservedError as error:
            return {"unserved": str(error)}
        except Exception as error:  # noqa: BLE001 the driver reports it
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {error}"}

    def do_load(self, _command: dict[str, Any]) -> dict[str, Any]:
        """Import the library: what every process of a program has done before it forms a group."""
        self._make: Callable[[], Library] = _module(self._name).make
        self._imported = memory()
        return {}

    def do_init(self, _command: dict[str, Any]) -> dict[str, Any]:
        """Form the group, and let it be known that it works."""
        began = time.perf_counter()
        self._library = library = self._make()
        library.barrier()
        seconds = time.perf_counter() - began
        gc.disable()
        gc.freeze()
        return {"rank": library.rank, "size": library.size, "version": library.version, "seconds": seconds}

    def do_memory(self, _command: dict[str, Any]) -> dict[str, Any]:
        """Tell by how many bytes this process has grown since the import."""
        return {name: value - self._imported[name] for name, value in memory().items()}

    def do_idle(self, command: dict[str, Any]) -> dict[str, Any]:
        """Wait for rank 0, which comes late, and tell what waiting has cost."""
        library = self._library
        library.barrier()
        if library.rank == 0:
            time.sleep(command["seconds"])
        wall, cpu = time.perf_counter(), time.process_time()
        library.barrier()
        return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    def do_overhead(self, command: dict[str, Any]) -> dict[str, Any]:
        """Time sums with kept memory, with new memory, and without Python around them."""
        library, n = self._library, command["iterations"]
        x = library.array(pattern.given(library.rank, library.size, command["count"], "float32"), "float32")
        loops = {"engine": library.engine(x, np.ones_like(x))}
        loops |= {form: partial(_repeated, library.call("all_sum", x, form).run) for form in ("out", "alloc")}
        times = {name: [loop(n) / n] for name, loop in loops.items()}
        for _ in range(command["batches"]):
            for name, loop in loops.items():
                times[name].append(loop(n) / n)
        return {name: min(each) for name, each in times.items()}

    def do_run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Repeat an operation, time it, and compare what it gives."""
        library = self._library
        form = library.form(command["form"], command["op"])
        times = _timed(library, self._call(command, form), command["iterations"], command["warmup"])
        # Once more on fresh numbers: after an operation in place the array is a sum of sums.
        call = self._call(command, form)
        returned = call.run()
        result = library.numpy(returned if call.result is None else call.result)
        what = (command["op"], library.rank, library.size, command["count"], command["dtype"])
        return {"form": form, **times, "wrong": pattern.wrong(result, pattern.expected(*what))}

    def _call(self, command: dict[str, Any], form: str) -> Call:
        library, dtype = self._library, command["dtype"]
        x = library.array(pattern.given(library.rank, library.size, command["count"], dtype), dtype)
        return library.call(command["op"], x, form)


def _module(name: str) -> ModuleType:
    """Return a module of this package, or that of a file somewhere else."""
    if not name.endswith(".py"):
        return importlib.import_module(f".{name}", __package__)
    spec = importlib.util.spec_from_file_location(Path(name).stem, name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _timed(library: Library, call: Call, iterations: int, warmup: int) -> dict[str, float]:
    """Time `iterations` calls as a whole, and some of them one by one; seconds of one operation."""
    run = call.run
    for _ in repeat(None, warmup):
        run()
    library.barrier()
    cpu = time.process_time()
    seconds = _repeated(run, iterations)
    cpu = time.process_time() - cpu
    alone = sorted(_one_by_one(run, min(iterations, _ALONE)))
    last = len(alone) - 1
    times = {"seconds": seconds / iterations, "cpu": cpu / iterations}
    times |= {"p50": alone[last // 2], "p99": alone[last * 99 // 100]}
    return {name: value / call.times for name, value in times.items()}


def _repeated(run: Callable[[], Any], n: int) -> float:
    """Return the seconds that `n` calls take."""
    began = time.perf_counter()
    for _ in repeat(None, n):
        run()
    return time.perf_counter() - began


def _one_by_one(run: Callable[[], Any], n: int) -> list[float]:
    clock, times = time.perf_counter, []
    before = clock()
    for _ in repeat(None, n):
        run()
        after = clock()
        times.append(after - before)
        before = after
    return times


def memory() -> dict[str, int]:
    """Return this process's memory in bytes: resident, and resident with shared pages counted in parts."""
    names = {"Rss:": "rss", "Pss:": "pss"}
    try:
        text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:  # macOS: the most it has ever been
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"rss": most, "pss": most}
    fields = (line.split() for line in text.splitlines()[1:])
    return {names[name]: int(value) * 1024 for name, value, *_ in fields if name in names}
