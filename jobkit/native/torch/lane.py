"""Calls that run one after another, in the order of issue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

Call = Callable[[], None]  # never raises


class Lane:
    """Runs calls one at a time: in the thread that waits for it, or else in one of its own.

    That thread exists from the first call that nobody waits for.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._turn = threading.Lock()  # held by whoever runs a call
        self._guard = threading.Lock()  # of what follows
        self._n_open = 0  # calls that were issued and have not ended

    def run(self, call: Call, *, here: bool) -> None:
        """Run `call` after all that were issued before: here and now if none is left, else in the thread."""
        with self._guard:
            here = here and self._n_open == 0
            self._n_open += 1
            if here:
                self._turn.acquire()  # free, since nothing is open
            else:
                self._enqueue(call)
        if here:
            self._finish(call)

    def close(self, timeout_s: float) -> None:
        """End the thread once the calls that were issued have ended; wait so long for it."""
        with self._guard:
            thread, self._thread = self._thread, None
            self._calls.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def _enqueue(self, call: Call) -> None:
        self._calls.put(call)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            self._turn.acquire()
            self._finish(call)

    def _finish(self, call: Call) -> None:
        try:
            call()
        finally:
            self._turn.release()
            with self._guard:
                self._n_open -= 1
