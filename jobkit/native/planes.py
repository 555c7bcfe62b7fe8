"""Groups whose data travels by other means than the engine's links: the device arrays of NCCL.

Such a group has two planes. Its *control plane* is a group of the engine (`ring.connect`) of the same ranks
in the same order. That carries arrays in host memory as ever, and for every operation whose data goes
elsewhere it is told of, an `announcement`: an operation of the engine with the same signature, and without
bytes. So the number of the operation, its deadline, the ranks that it waits for, its flight record, calls
that differ, ranks that fail, leave or hang, and the poisoning of the group are the engine's own, and reach
every rank.

    plane = Announcements(core, checks)
    plane.open(ALL_SUM, count, code)  # before the data plane is given the operation
    ...  # give it the operation
    while not event.is_done():  # off the critical path: nothing of the announcement is waited for
        plane.poll()  # raises what the engine knows by now
        if time.monotonic() > deadline:
            plane.expire("all_sum", seconds)  # raises, on every rank

An announcement waits for nobody where `checks` is off: it is on its way beside the data, and `poll`, or the
next `open`, raises what became of it. With JOBKIT_CHECK=1 `open` returns once all ranks are known to make the
same call, so that nothing of one that differs is ever sent. After an error the data plane is of no use: its
owner ends it (`ncclCommAbort`) on every rank, as each of them raises, and keeps its buffers until then.

What is split from such a group, `core.split`, is the control plane of the data plane's own part;
`core.shrink` likewise. The MPI backend needs none of this: there MPI carries the engine's own messages.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NoReturn

from jobkit.errors import BackendError, complaint

if TYPE_CHECKING:
    from jobkit.native import _core

BARRIER = 11  # a code of src/call.h
MOST_OPEN = 64  # announcements on their way; one more waits for the oldest


class Announcements:
    """What the control plane is told of operations whose data travels elsewhere. One thread at a time.

    Attributes:
        core: The engine's group of the same ranks.
    """

    def __init__(self, core: _core.Group, checks: bool) -> None:
        self.core = core
        self._checks = checks
        self._open: deque[_core.Handle] = deque()
        self._last = BARRIER, 0, 0, 0, -1, 0, 0

    def open(
        self,
        call: int,
        count: int,
        code: int,
        peer: int = 0,
        sender: int = -1,
        n_received: int = 0,
        tag: int = 0,
        timeout_s: float = -1.0,
    ) -> None:
        """Tell of an operation, in the order in which all ranks call them.

        Args:
            call: A code of src/call.h: `collectives.ALL_SUM`, `messages.SEND`.
            count: Elements, as the engine's method of that name counts them; of a sendrecv what is sent.
            code: The element type, an index into `arrays.DTYPES`.
            peer: The root, or the other rank of a message; of a sendrecv the one that receives.
            sender: Of a sendrecv.
            n_received: Likewise, elements.
            tag: Of a message.
            timeout_s: Seconds, below 0 for the group's own.

        Raises:
            BackendError: An earlier operation failed; with checks on, this one did.
        """
        self.poll()
        if len(self._open) >= MOST_OPEN:
            self._open[0].wait()
        self._last = call, count, code, peer, sender, n_received, tag
        told = self.core.announce(*self._last, timeout_s=timeout_s, wait=self._checks)
        if told is not None:
            self._open.append(told)

    @property
    def n_open(self) -> int:
        """How many are not answered by all ranks yet, as `poll` found last."""
        return len(self._open)

    def poll(self) -> None:
        """Return at once if nothing is known to have failed.

        Raises:
            BackendError: A rank called something else, failed, left, hangs, or did not come in time.
        """
        while self._open and self._open[0].done():
            self._open.popleft().wait()
        if not self.core.is_sound:
            self._fail()

    def expire(self, name: str, waited_s: float) -> NoReturn:
        """End the group because the data of operation `name` has not come.

        Raises:
            BackendError: Always, on every rank: with what the engine knows of it, if it does.
        """
        self.poll()
        late = len(self._open)
        known = f"{late} of its announcements are not answered" if late else "all ranks have called it"
        self.core.abort(f"{name}: waited {waited_s:.1f} s for its data, and {known}")
        self._fail()

    def _fail(self) -> NoReturn:
        """Raise the words of an operation's own failure, or what the engine says to the last one again."""
        while self._open:
            self._open.popleft().wait()
        self.core.announce(*self._last)
        raise BackendError(complaint("group", "has failed", got=self.core.failure))
