"""NCCL's communicator of the ranks of a group, each with a device."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from ctypes import byref, c_int, c_void_p
from typing import Any

from jobkit.errors import BackendError, complaint
from jobkit.native.nccl import prototypes
from jobkit.native.nccl.cuda import Device
from jobkit.native.nccl.prototypes import IN_PROGRESS, SUCCESS

LAST_WAIT_S = 5.0  # for an orderly end, and for an abort to be over
LOCK_WAIT_S = 1.0  # an abort waits so long for a call in another thread, then does without
SHORTEST_SLEEP_S, LONGEST_SLEEP_S = 20e-6, 2e-3
SPINS = 64  # looks before the first sleep: what a small operation takes

# A function of libnccl with its arguments up to the communicator.
Call = tuple[str, tuple[Any, ...]]
Poll = Callable[[], None]  # raises when there is no use in waiting any longer


class Communicator:
    """Enqueues operations on streams. None of its calls waits without `poll` being asked.

    One thread at a time, apart from `check`, `is_complete` and `abort`.
    """

    def __init__(self, nccl: ctypes.CDLL, device: Device) -> None:
        self._nccl = nccl
        self._device = device
        self._handle = c_void_p()
        self._calls = threading.RLock()  # held during calls of NCCL, which must not use what has ended
        self._is_ended = False
        self._spare: list[int] = []  # events

    def connect(self, unique_id: bytes, rank: int, size: int, poll: Poll) -> None:
        """Meet the other ranks. Collective: each of them.

        Args:
            unique_id: What one rank got of `unique_id()`.
            rank: This one's.
            size: How many there are.
            poll: Ends the wait by raising.

        Raises:
            BackendError: NCCL cannot.
        """
        number = prototypes.UniqueId.from_buffer_copy(unique_id)
        config = prototypes.non_blocking()
        name = "ncclCommInitRankConfig"
        with self._device.current():
            with self._using() as nccl:
                status = nccl.ncclCommInitRankConfig(byref(self._handle), size, number, rank, byref(config))
            self._settle(name, status, poll)

    def enqueue(self, calls: Sequence[Call], stream: int, poll: Poll) -> int:
        """Put operations on a stream, as one; return an event that is behind them.

        Raises:
            BackendError: NCCL or CUDA refuses.
        """
        with self._device.current():
            if calls:
                self._group(calls, stream, poll)
            event = self._spare.pop() if self._spare else self._device.event()
            self._device.record(event, stream)
        return event

    def is_complete(self, event: int) -> bool:
        """Return whether an event is reached.

        Raises:
            BackendError: The device failed.
        """
        return self._device.driver.is_complete(event)

    def reuse(self, event: int) -> None:
        """Take back an event that is reached."""
        self._spare.append(event)

    def check(self) -> None:
        """Return if nothing is known to have failed.

        Raises:
            BackendError: NCCL found that something has, while operations ran.
        """
        state = self._state()
        if state not in (SUCCESS, IN_PROGRESS):
            raise BackendError(self._complaint("an operation failed", state))

    def scaled_sum(self, factor: bytes, data_type: int) -> int:
        """Return an operator that multiplies by `factor`, a number of that type, and adds.

        Raises:
            BackendError: NCCL refuses.
        """
        made = c_int()
        value = ctypes.create_string_buffer(factor, len(factor))
        where = prototypes.SCALAR_ON_HOST
        with self._using() as nccl:
            status = nccl.ncclRedOpCreatePreMulSum(byref(made), value, data_type, where, self._handle)
        if status != SUCCESS:
            raise BackendError(self._complaint("ncclRedOpCreatePreMulSum", status))
        return made.value

    def end_operator(self, operator: int) -> None:
        """Free what `scaled_sum` made, after the operations that use it were enqueued."""
        with self._using() as nccl:
            nccl.ncclRedOpDestroy(operator, self._handle)

    def abort(self) -> None:
        """End all operations wherever they are. Any thread.

        NCCL's own call may wait for the device: this waits a while for it, and then leaves it behind.
        """
        has_lock = self._calls.acquire(timeout=LOCK_WAIT_S)  # else a call hangs, which this ends
        try:
            is_first, self._is_ended = not self._is_ended, True
        finally:
            if has_lock:
                self._calls.release()
        if is_first and self._handle:
            self._end("ncclCommAbort")

    def close(self) -> None:
        """End an idle communicator in an orderly way, or if that takes too long in the other."""
        deadline = time.monotonic() + LAST_WAIT_S

        def poll() -> None:
            if time.monotonic() > deadline:
                raise BackendError(complaint("NCCL: ncclCommFinalize", f"not over after {LAST_WAIT_S} s"))

        try:
            with self._device.current():
                with self._using() as nccl:
                    status = nccl.ncclCommFinalize(self._handle)
                self._settle("ncclCommFinalize", status, poll)
        except BackendError:
            self.abort()
        else:
            self._is_ended = True
            self._end("ncclCommDestroy")
            with self._device.current():
                while self._spare:
                    self._device.end_event(self._spare.pop())

    def _group(self, calls: Sequence[Call], stream: int, poll: Poll) -> None:
        with self._using() as nccl:
            nccl.ncclGroupStart()
            for name, arguments in calls:
                failed = getattr(nccl, name)(*arguments, self._handle, stream)
                if failed not in (SUCCESS, IN_PROGRESS):
                    break
            status = nccl.ncclGroupEnd()  # in any case: it ends what was started
        self._settle(name, status if failed in (SUCCESS, IN_PROGRESS) else failed, poll)

    def _settle(self, name: str, status: int, poll: Poll) -> None:
        """Wait until a call that has returned is done with."""
        if status == IN_PROGRESS:
            for pause in pauses():
                status = self._state()
                if status != IN_PROGRESS:
                    break
                poll()
                time.sleep(pause)
        if status != SUCCESS:
            raise BackendError(self._complaint(name, status))

    def _state(self) -> int:
        state = c_int()
        with self._using() as nccl:
            status = int(nccl.ncclCommGetAsyncError(self._handle, byref(state)))
        return state.value if status == SUCCESS else status

    @contextlib.contextmanager
    def _using(self) -> Iterator[ctypes.CDLL]:
        with self._calls:
            if self._is_ended:
                raise BackendError(complaint("NCCL", "the communicator has ended"))
            yield self._nccl

    def _complaint(self, where: str, status: int) -> str:
        hint = "NCCL_DEBUG=INFO makes NCCL say more"
        return complaint(f"NCCL: {where}", _meaning(self._nccl, self._handle, status), hint=hint)

    def _end(self, name: str) -> None:
        def end() -> None:
            with self._device.current():
                getattr(self._nccl, name)(self._handle)

        thread = threading.Thread(target=end, name="jobkit-nccl-end", daemon=True)
        thread.start()
        thread.join(LAST_WAIT_S)


def unique_id(nccl: ctypes.CDLL) -> bytes:
    """Return a number for a new communicator, which every rank of it needs.

    Raises:
        BackendError: NCCL finds no network that it could use.
    """
    made = prototypes.UniqueId()
    status = nccl.ncclGetUniqueId(byref(made))
    if status != SUCCESS:
        hint = "NCCL_SOCKET_IFNAME names the network's interface"
        raise BackendError(complaint("NCCL: ncclGetUniqueId", _meaning(nccl, None, status), hint=hint))
    return bytes(made)


def pauses() -> Iterator[float]:
    """Yield how long to sleep between two looks: not at all at first, then longer and longer."""
    for _ in range(SPINS):
        yield 0.0
    pause = SHORTEST_SLEEP_S
    while True:
        yield pause
        pause = min(1.5 * pause, LONGEST_SLEEP_S)


def _meaning(nccl: ctypes.CDLL, handle: c_void_p | None, status: int) -> str:
    meaning = nccl.ncclGetErrorString(status).decode(errors="replace")
    details = (nccl.ncclGetLastError(handle) or b"").decode(errors="replace").strip()
    return f"{meaning} ({details})" if details else meaning
