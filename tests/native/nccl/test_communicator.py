"""NCCL's communicator: connecting, ending, and the calls in between, over the stand-in."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jobkit.errors import BackendError
from jobkit.native.nccl import communicator, cuda, memory, prototypes

SUM_OF_NOTHING = 0, 7, 0  # elements, ncclFloat32, ncclSum


class Expired(Exception):
    pass


def never() -> None:
    pass


def soon(seconds: float = 0.5) -> Callable[[], None]:
    deadline = time.monotonic() + seconds

    def poll() -> None:
        if time.monotonic() > deadline:
            raise Expired

    return poll


@pytest.fixture
def nccl(standin: Path, standin_environ: dict[str, str]) -> ctypes.CDLL:
    made = ctypes.CDLL(str(standin))
    prototypes.declare(made, "stand-in", prototypes.NCCL)
    prototypes.declare(made, "stand-in", prototypes.NCCL_TEXTS, ctypes.c_char_p)
    return made


@pytest.fixture
def alone(nccl: ctypes.CDLL, device: cuda.Device) -> communicator.Communicator:
    made = communicator.Communicator(nccl, device)
    made.connect(communicator.unique_id(nccl), 0, 1, never)
    return made


def count(nccl: ctypes.CDLL, name: str) -> int:
    return int(nccl.standin_count(name.encode()))


def test_a_rank_alone_sums_on_a_stream(
    alone: communicator.Communicator, nccl: ctypes.CDLL, device: cuda.Device
) -> None:
    made = memory.DeviceArray((3,), 11, device)
    x = np.arange(3, dtype=np.float32)
    ctypes.memmove(made.memory.pointer, x.ctypes.data, x.nbytes)
    half = alone.scaled_sum(np.float32(0.5).tobytes(), prototypes.DATA_TYPES["float32"])
    arguments = made.memory.pointer, made.memory.pointer, 3, 7, half
    with device.current():
        stream = device.stream()
    event = alone.enqueue([("ncclAllReduce", arguments)], stream, never)
    alone.end_operator(half)
    deadline = time.monotonic() + 60
    while not alone.is_complete(event):
        assert time.monotonic() < deadline
    assert memory.to_host(made, device, stream).tolist() == [0, 0.5, 1]
    alone.check()
    alone.reuse(event)
    assert alone.enqueue([], stream, never) == event
    ended = count(nccl, "ncclCommAbort"), count(nccl, "ncclCommDestroy")
    alone.close()
    assert (count(nccl, "ncclCommAbort"), count(nccl, "ncclCommDestroy")) == (ended[0], ended[1] + 1)
    with pytest.raises(BackendError, match="NCCL: the communicator has ended"):
        alone.enqueue([("ncclAllReduce", arguments)], stream, never)


def test_a_wait_for_ranks_that_do_not_come_ends_when_it_is_told(
    nccl: ctypes.CDLL, device: cuda.Device
) -> None:
    made = communicator.Communicator(nccl, device)
    with pytest.raises(Expired):
        made.connect(communicator.unique_id(nccl), 0, 2, soon())
    made.abort()


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("ncclCommInitRankConfig", 1, "NCCL: ncclCommInitRankConfig: unhandled system error"),
        ("ncclCommInitRankConfig", 3, "NCCL: ncclCommInitRankConfig: unhandled system error"),
        ("ncclCommGetAsyncError", 1, "NCCL: ncclCommInitRankConfig: unhandled system error"),
    ],
)
def test_what_fails_while_ranks_connect_is_told(
    nccl: ctypes.CDLL, device: cuda.Device, fault: Callable[..., None], name: str, kind: int, told: str
) -> None:
    fault(name, kind, 2)
    made = communicator.Communicator(nccl, device)
    with pytest.raises(BackendError, match=told):
        made.connect(communicator.unique_id(nccl), 0, 1, never)
    made.abort()


def test_without_a_network_there_is_no_number(nccl: ctypes.CDLL, fault: Callable[..., None]) -> None:
    fault("ncclGetUniqueId", 1, 2)
    with pytest.raises(BackendError, match=r"ncclGetUniqueId: unhandled system error"):
        communicator.unique_id(nccl)


def test_of_several_calls_the_one_that_fails_is_named(
    alone: communicator.Communicator, fault: Callable[..., None]
) -> None:
    calls = [("ncclSend", (0, 0, 1, 0)), ("ncclRecv", (0, 0, 1, 7)), ("ncclSend", (0, 0, 1, 0))]
    with pytest.raises(BackendError, match="NCCL: ncclRecv: invalid argument"):
        alone.enqueue(calls, 0, never)
    alone.close()


def test_a_call_that_stays_in_progress_ends_when_it_is_told(
    alone: communicator.Communicator, fault: Callable[..., None]
) -> None:
    fault("ncclAllReduce", 4)
    with pytest.raises(Expired):
        alone.enqueue([("ncclAllReduce", (0, 0, *SUM_OF_NOTHING))], 0, soon())
    alone.abort()


def test_an_abort_comes_once_and_from_any_thread(alone: communicator.Communicator, nccl: ctypes.CDLL) -> None:
    before = count(nccl, "ncclCommAbort")
    threads = [threading.Thread(target=alone.abort) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    alone.abort()
    assert count(nccl, "ncclCommAbort") == before + 1
    with pytest.raises(BackendError, match="has ended"):
        alone.check()


def test_pauses_grow_up_to_a_limit() -> None:
    made = communicator.pauses()
    first = [next(made) for _ in range(200)]
    assert first[: communicator.SPINS] == [0.0] * communicator.SPINS
    assert first == sorted(first)
    assert first[-1] == communicator.LONGEST_SLEEP_S
