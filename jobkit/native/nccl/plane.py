"""The data plane of device arrays: operations by NCCL, announced to the engine and watched to their end."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from jobkit.errors import BackendError, complaint
from jobkit.native.nccl.communicator import Call, Communicator, pauses, unique_id
from jobkit.native.nccl.cuda import Device
from jobkit.native.nccl.prototypes import UNIQUE_ID_BYTES
from jobkit.native.planes import Announcements

if TYPE_CHECKING:
    from jobkit.native import _core

WATCH_S = 0.005  # between two looks at operations that nobody waits for
LAST_WAIT_S = 5.0  # for those, when the group is left
UINT8 = 1  # an index into arrays.DTYPES


class Terms(NamedTuple):
    """What holds for every plane of this process.

    Attributes:
        nccl: The library.
        device: This rank's.
        connect_timeout_s: Seconds until NCCL must have connected the ranks; 0: any time.
        timeout_s: Seconds that an operation's data may take once all ranks have called it; 0: any time.
        checks: Whether the ranks compare their calls before each.
    """

    nccl: ctypes.CDLL
    device: Device
    connect_timeout_s: float
    timeout_s: float
    checks: bool


class Signature(NamedTuple):
    """What the ranks must agree on: arguments of `Announcements.open`."""

    call: int
    n_elements: int
    code: int
    peer: int = 0
    sender: int = -1
    n_received: int = 0


class Pending:
    """An operation that is on a stream: what `jobkit.native.Handle` waits for.

    Attributes:
        name: The operation's.
        event: Reached when it is complete.
        keeps: What it uses, until then.
        timeout_s: Seconds from its start; below 0 for the group's own, from when all ranks have called it.
        is_complete: Whether it is known to be.
        error: Why it never will.
    """

    def __init__(self, plane: Plane, name: str, keeps: Any, timeout_s: float) -> None:
        self._plane = plane
        self.name = name
        self.event = 0
        self.keeps = keeps
        self.timeout_s = timeout_s
        self.started = time.monotonic()
        self.called: float | None = None  # when all ranks were known to have called it
        self.is_complete = False
        self.error: BaseException | None = None

    def done(self) -> bool:
        """Return whether waiting would return, or raise, at once."""
        self._plane.advance()
        return self.is_complete or self.error is not None

    def wait(self, timeout_s: float) -> bool:
        """Return whether it is complete after so many seconds; below 0 wait without a limit.

        Raises:
            BackendError: It failed.
        """
        return self._plane.wait(self, timeout_s)


class Plane:
    """NCCL's part of a group. One thread at a time, as for the group itself.

    Attributes:
        device: This rank's.
        stream: A stream of the group's own, for arrays whose library has none to say.
    """

    def __init__(self, core: _core.Group, terms: Terms) -> None:
        self.device = terms.device
        self._core = core
        self._terms = terms
        self._announcements = Announcements(core, terms.checks)
        self._communicator = Communicator(terms.nccl, terms.device)
        self._lock = threading.RLock()  # of the announcements, and what follows
        self._open: list[Pending] = []  # in the order of issue
        self._failed: list[Pending] = []  # for good: a device that hangs may still use their memory
        self._failure = ""
        self._busy = ""  # the operation that a thread is in
        self._watcher: threading.Thread | None = None
        self._is_closed = False
        with terms.device.current():
            self.stream = terms.device.stream()

    def connect(self) -> None:
        """Meet the others' planes. Collective: every rank of the group.

        Raises:
            BackendError: NCCL could not, on this rank or another, or not in time.
        """
        limit = self._terms.connect_timeout_s
        deadline = time.monotonic() + (limit or float("inf"))
        number = bytearray(UNIQUE_ID_BYTES)

        def poll() -> None:
            self._announcements.poll()
            if time.monotonic() > deadline:
                wrong = f"waited {limit:.1f} s for NCCL to connect the ranks"
                hint = "NCCL_DEBUG=INFO makes NCCL say more; NCCL_SOCKET_IFNAME names the network's interface"
                raise BackendError(complaint("backend nccl", wrong, hint=hint))

        with self._failing_together():
            if self._core.rank == 0:
                number[:] = unique_id(self._terms.nccl)
            self._core.broadcast(number, UNIQUE_ID_BYTES, UINT8, 0)
            self._communicator.connect(bytes(number), self._core.rank, self._core.size, poll)
            self._core.barrier()  # nobody goes on unless all can

    def part(self, core: _core.Group) -> Plane:
        """Return the plane of a group that was split from this one, or is what is left of it. Collective."""
        plane = Plane(core, self._terms)
        plane.connect()
        return plane

    def start(
        self,
        name: str,
        signature: Signature,
        calls: Sequence[Call],
        stream: int,
        keeps: Any,
        timeout_s: float,
        *,
        wait: bool,
    ) -> Pending:
        """Put an operation on a stream; with `wait` return once it is complete.

        Args:
            name: The operation's.
            signature: What the others must call too.
            calls: Functions of NCCL with their arguments up to the communicator; they run as one.
            stream: Where.
            keeps: What must stay until it is over.
            timeout_s: Seconds, below 0 for the group's own.
            wait: Whether the caller waits.

        Raises:
            BackendError: It failed, here or elsewhere, or an earlier one has.
        """
        with self._turn(name):
            self._look(name)
            with self._failing_together():
                with self._lock:
                    self._announcements.open(*signature, timeout_s=timeout_s)
                pending = Pending(self, name, keeps, timeout_s)
                pending.event = self._communicator.enqueue(calls, stream, lambda: self._look_after(pending))
            with self._lock:
                self._open.append(pending)
                if not wait:
                    self._watch_from_now()
            if wait:
                self.wait(pending, -1.0)
        return pending

    def scaled_sum(self, factor: bytes, data_type: int) -> int:
        """Return an operator as `Communicator.scaled_sum` does."""
        self._look("scale")
        with self._failing_together():
            return self._communicator.scaled_sum(factor, data_type)

    def end_operator(self, operator: int) -> None:
        """Free what `scaled_sum` made."""
        with self._failing_together():
            self._communicator.end_operator(operator)

    def wait(self, pending: Pending, timeout_s: float) -> bool:
        """See `Pending.wait`."""
        deadline = time.monotonic() + (timeout_s if timeout_s >= 0 else float("inf"))
        with self._failing_together():
            for pause in pauses():
                if pending.done():
                    break
                if time.monotonic() > deadline:
                    return False
                time.sleep(pause)
        if pending.error is not None:
            raise pending.error
        return True

    def advance(self) -> None:
        """Note which of the open operations are complete, and whether one never will be."""
        with self._lock:
            try:
                while self._open and self._communicator.is_complete(self._open[0].event):
                    pending = self._open.pop(0)
                    pending.is_complete, pending.keeps = True, None
                    self._communicator.reuse(pending.event)
                if self._open:
                    self._look_after(self._open[0])
                    self._communicator.check()
            except BackendError as error:
                self._fail(error)

    def abort(self) -> None:
        """End all operations; the plane is of no use any more."""
        with self._lock:
            self._failure = self._failure or self._core.failure or "aborted"
        self._communicator.abort()

    def close(self) -> None:
        """End the plane, in an orderly way where nothing has failed. Waits a while for open operations."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        deadline = time.monotonic() + LAST_WAIT_S
        while self._open and time.monotonic() < deadline:
            self.advance()
            time.sleep(WATCH_S)
        if self._failure or self._open or not self._core.is_sound:
            self._communicator.abort()
        else:
            self._communicator.close()
            with contextlib.suppress(BackendError), self.device.current():
                self.device.end_stream(self.stream)

    # --- failures ---

    @contextlib.contextmanager
    def _failing_together(self) -> Iterator[None]:
        """Let whatever is raised here end the group on every rank."""
        try:
            yield
        except BaseException as error:
            first = self._failure
            self._fail(error)
            if first and isinstance(error, BackendError):
                self._refuse("an operation")
            raise

    def _fail(self, error: BaseException) -> None:
        """Tell the others, and end NCCL's operations."""
        with self._lock:
            if not self._failure:
                self._failure = str(error) or type(error).__name__
                if self._core.failure is None:
                    self._core.abort(self._failure)
            for pending in self._open:
                pending.error = error if isinstance(error, BackendError) else BackendError(self._failure)
            self._failed += self._open
            self._open.clear()
        self._communicator.abort()

    def _look(self, name: str) -> None:
        """Raise if no operation can succeed any more."""
        if self._is_closed:
            raise BackendError(complaint(name, "the group is closed"))
        if self._failure:
            self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        raise BackendError(complaint(name, "the group has failed", got=self._failure))

    def _look_after(self, pending: Pending) -> None:
        """Raise if an operation will not complete, or has had its time."""
        with self._lock:
            self._announcements.poll()
        now = time.monotonic()
        if pending.called is None and self._announcements.n_open == 0:
            pending.called = now
        if pending.timeout_s >= 0:
            limit, since = pending.timeout_s, pending.started
        else:
            limit, since = self._terms.timeout_s, pending.called or now
        if 0 < limit < now - since:
            with self._lock:
                self._announcements.expire(pending.name, limit)

    # --- threads ---

    def _watch_from_now(self) -> None:
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="jobkit-nccl", daemon=True)
            self._watcher.start()

    def _watch(self) -> None:
        while True:
            with self._lock:
                self.advance()
                if not self._open:
                    self._watcher = None
                    return
            time.sleep(WATCH_S)

    @contextlib.contextmanager
    def _turn(self, name: str) -> Iterator[None]:
        with self._lock:
            if self._busy:
                wrong = f"called while {self._busy} runs in another thread"
                hint = "a group serves one thread at a time (split makes another)"
                raise BackendError(complaint(name, wrong, hint=hint))
            self._busy = name
        try:
            yield
        finally:
            self._busy = ""
