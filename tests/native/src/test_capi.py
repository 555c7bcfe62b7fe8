"""The flat C interface, called as the bridge to MLX calls it."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

core = pytest.importorskip("jobkit.native._core")

Threads = Callable[..., list[Any]]

POINTER, COUNT, INT, SECONDS = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int, ctypes.c_double
FLOAT32 = 11
# The members of jobkit_api after its version, in order: their arguments after the group, and before those
# that all failing calls end with.
CALLS: dict[str, tuple[Any, ...]] = {
    "split": (INT, INT, POINTER),
    "all_reduce": (INT, POINTER, POINTER, COUNT, INT, ctypes.c_double, SECONDS),
    "reduce_scatter": (INT, POINTER, POINTER, COUNT, INT, ctypes.c_double, SECONDS),
    "all_gather": (POINTER, POINTER, COUNT, INT, SECONDS),
    "broadcast": (POINTER, POINTER, COUNT, INT, INT, SECONDS),
    "all_to_all": (POINTER, POINTER, COUNT, INT, SECONDS),
    "gather": (POINTER, POINTER, COUNT, INT, INT, SECONDS),
    "scatter": (POINTER, POINTER, COUNT, INT, INT, SECONDS),
    "barrier": (SECONDS,),
    "send": (POINTER, COUNT, INT, INT, INT, SECONDS),
    "recv": (POINTER, COUNT, INT, INT, INT, SECONDS),
    "sendrecv": (POINTER, COUNT, INT, POINTER, COUNT, INT, INT, INT, SECONDS),
}


class Api:
    """The functions of a group as Python's. They raise ValueError with the message of a call that fails."""

    def __init__(self, group: Any) -> None:
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = POINTER, [ctypes.py_object, ctypes.c_char_p]
        self.capsules = core.c_api(), group.handle()
        self.group = POINTER(pointer(self.capsules[1], b"jobkit.native.group"))
        address = pointer(self.capsules[0], b"jobkit.native.c_api")
        self.version = ctypes.c_uint32.from_address(address).value
        table = (POINTER * (5 + len(CALLS))).from_address(address)  # version, retain, release, rank, size
        tail = (ctypes.c_char_p, ctypes.c_size_t)
        self.functions = {
            name: ctypes.CFUNCTYPE(INT, POINTER, *arguments, *tail)(table[5 + i])
            for i, (name, arguments) in enumerate(CALLS.items())
        }

    def __getattr__(self, name: str) -> Callable[..., None]:
        function = self.functions[name]

        def call(*arguments: Any) -> None:
            error = ctypes.create_string_buffer(300)
            plain = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
            if function(self.group, *plain, -1.0, error, len(error)):
                raise ValueError(error.value.decode())

        return call


def test_the_version_is_the_one_of_the_header(threads: Threads, repository: Path) -> None:
    header = (repository / "jobkit/native/src/capi.h").read_text()
    (version,) = re.findall(r"#define JOBKIT_API_VERSION (\d+)", header)
    assert threads(2, lambda group: Api(group).version) == [int(version)] * 2


@pytest.mark.parametrize("n_ranks", [2, 3])
def test_every_function_does_what_its_comment_says(threads: Threads, n_ranks: int) -> None:
    def program(group: Any) -> None:
        api, rank, size, n = Api(group), group.rank, group.size, 3
        own = np.arange(n, dtype=np.float32) + 10 * rank
        wide = np.concatenate([own + 100 * p for p in range(size)])  # block p is for rank p
        out, joined = np.zeros(n, np.float32), np.zeros(n * size, np.float32)
        everybody = np.concatenate([np.arange(n, dtype=np.float32) + 10 * p for p in range(size)])
        total = everybody.reshape(size, n).sum(axis=0)

        api.all_reduce(0, own, out, n, FLOAT32, 0.5)
        np.testing.assert_array_equal(out, total / 2)
        api.reduce_scatter(0, wide, out, n, FLOAT32, 2.0)
        np.testing.assert_array_equal(out, 2 * (total + 100 * size * rank))
        api.all_gather(own, joined, n, FLOAT32)
        np.testing.assert_array_equal(joined, everybody)
        api.broadcast(own, out, n, FLOAT32, 1)
        np.testing.assert_array_equal(out, np.arange(n) + 10)
        same = own.copy()
        api.broadcast(same, same, n, FLOAT32, 1)
        np.testing.assert_array_equal(same, np.arange(n) + 10)
        api.all_to_all(wide, joined, n, FLOAT32)
        np.testing.assert_array_equal(joined, everybody + 100 * rank)
        joined[:] = -1
        api.gather(own, joined if rank == 1 else None, n, FLOAT32, 1)
        np.testing.assert_array_equal(joined, everybody if rank == 1 else -1)
        api.scatter(wide if rank == 1 else None, out, n, FLOAT32, 1)
        np.testing.assert_array_equal(out, np.arange(n) + 10 + 100 * rank)
        api.barrier()
        right, left = (rank + 1) % size, (rank - 1) % size
        api.sendrecv(own, n, right, out, n, left, FLOAT32, 5)
        np.testing.assert_array_equal(out, np.arange(n) + 10 * left)
        if rank == 0:
            api.send(own, n, FLOAT32, 1, 7)
        elif rank == 1:
            api.recv(out, n, FLOAT32, 0, 7)
            np.testing.assert_array_equal(out, np.arange(n))

    threads(n_ranks, program)


def test_what_fails_says_why(threads: Threads) -> None:
    def program(group: Any) -> list[str]:
        api, x, texts = Api(group), np.zeros(2, np.float32), []
        for call in (
            lambda: api.all_reduce(9, x, x, 2, FLOAT32, 1.0),
            lambda: api.broadcast(x, x, 2, 99, 0),
            lambda: api.gather(x, x, 1, FLOAT32, 5),
            lambda: api.sendrecv(x, 1, 7, x, 1, 0, FLOAT32, 0),
        ):
            with pytest.raises(ValueError) as caught:
                call()
            texts.append(str(caught.value))
        return texts

    for texts in threads(2, program):
        assert "reduction code, got 9" in texts[0]
        assert "dtype code, got 99" in texts[1]
        assert "root 5, expected 0 to 1" in texts[2]
        assert "rank 7" in texts[3]
