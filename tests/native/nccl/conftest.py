"""A stand-in for libnccl and the CUDA driver, built from standin.cc, and ranks that use it."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.native.nccl import cuda, library

SOURCE = Path(__file__).with_name("standin.cc")
CUDA_NAME = "libcuda.so.1"  # the same file: the loader takes it once
DEADLINE_S = 120.0

# What the programs of ranks begin with: `world`, arrays on the device and back, and the stand-in itself.
PRELUDE = """
import ctypes, os, sys, threading, time
import ml_dtypes
import numpy as np
import jobkit.native as dist
from jobkit.errors import BackendError
from jobkit.native import arrays
from jobkit.native.nccl import cuda, memory

RETURN, HANG, ASYNC, PROGRESS, STUCK = 1, 2, 3, 4, 5
standin = ctypes.CDLL(os.environ["JOBKIT_NCCL_LIB"])
driver = cuda.driver(os.environ)
device = cuda.Device(driver, int(os.environ["MLX_RANK"]) % driver.n_devices())

def fault(name, kind, value=0, after=0):
    standin.standin_fault(name.encode(), kind, value, after)

def count(name):
    return standin.standin_count(name.encode())

def to_device(x):
    x = np.ascontiguousarray(x).reshape(np.shape(x))
    made = memory.DeviceArray(x.shape, arrays.code_of(x.dtype), device)
    ctypes.memmove(made.memory.pointer, x.ctypes.data, x.nbytes)
    return made

def to_host(x):
    assert isinstance(x, memory.DeviceArray), type(x)
    return memory.to_host(x, device, 0)

def error_of(call, *args, **options):
    try:
        call(*args, **options)
    except BackendError as error:
        return str(error).replace(chr(10), " ")
    raise AssertionError("it raised nothing")

"""
INIT = "world = dist.init(backend='nccl', strict=True)\n"


@pytest.fixture(scope="session")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in: one library for both, since what is on a stream is done by the one for the other."""
    made = tmp_path_factory.mktemp("standin") / "libnccl.so.2"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread"]
    command = [os.environ.get("CXX", "c++"), *flags, str(SOURCE), "-o", str(made)]
    subprocess.run(command, check=True)
    os.link(made, made.with_name(CUDA_NAME))
    return made


@pytest.fixture
def standin_environ(standin: Path) -> dict[str, str]:
    """The variables that lead to the stand-in."""
    return {library.LIBRARY: str(standin), cuda.LIBRARY: str(standin.with_name(CUDA_NAME))}


@pytest.fixture
def device(standin_environ: dict[str, str]) -> cuda.Device:
    """A device of the stand-in's, in this process."""
    return cuda.Device(cuda.driver(standin_environ), 0)


@pytest.fixture
def fault(standin: Path) -> Callable[..., None]:
    """Make the stand-in fail in this process: name, kind (1: return), value, after so many calls."""
    made = ctypes.CDLL(str(standin))

    def fail(name: str, kind: int, value: int = 0, after: int = 0) -> None:
        made.standin_fault(name.encode(), kind, value, after)

    return fail


@pytest.fixture
def run_nccl(standin_environ: dict[str, str]) -> Callable[..., list[str]]:
    """A function: run a program text as n ranks that meet at NCCL_PORT; their stdout in rank order.

    A rank that fails fails the test, unless `status` has another exit status for it. `init` False leaves
    `world` to the program. Named arguments are environment variables.
    """

    def run(
        n: int, source: str, *, init: bool = True, status: dict[int, int] | None = None, **environ: str
    ) -> list[str]:
        program = PRELUDE + (INIT if init else "") + textwrap.dedent(source)
        with socket.socket() as reserved:
            # As the shim keeps it.
            reserved.bind(("127.0.0.1", 0))
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            meeting = {"NCCL_HOST_IP": "127.0.0.1", "NCCL_PORT": str(reserved.getsockname()[1])}
            ranks = [_start(program, {**meeting, **standin_environ, **environ}, r, n) for r in range(n)]
            try:
                ends = [rank.communicate(timeout=DEADLINE_S) for rank in ranks]
            finally:
                for rank in ranks:
                    rank.kill()
        found = {number: rank.returncode for number, rank in enumerate(ranks)}
        told = "".join(f"--- rank {number}\n{errors}" for number, (_, errors) in enumerate(ends))
        assert found == {number: (status or {}).get(number, 0) for number in range(n)}, told
        return [output for output, _ in ends]

    return run


def _start(program: str, environ: dict[str, str], rank: int, size: int) -> subprocess.Popen[Any]:
    own = {"MLX_RANK": str(rank), "MLX_WORLD_SIZE": str(size)}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, **environ, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
