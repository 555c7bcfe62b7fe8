"""What an operation of `torch.distributed` returns: something to wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as distributed

from jobkit.errors import BackendError, complaint


class Work(distributed.Work):
    """One operation, from its issue to its end.

    Its error is raised in whoever waits for it, each time.
    """

    def __init__(self, name: str, call: Callable[[], Any], result: list[torch.Tensor]) -> None:
        super().__init__()
        self._name = name
        self._call: Callable[[], Any] | None = call
        self._result = result
        self._error: BaseException | None = None
        self._ended = threading.Event()
        self._guard = threading.Lock()  # of the future, which both sides may make or complete
        self._trigger: torch.futures.Future[Any] | None = None
        self._future: torch.futures.Future[Any] | None = None

    def run(self) -> None:
        """Do the operation. Raises nothing: see `wait`."""
        assert self._call is not None
        try:
            with torch.no_grad():
                self._call()
        except BaseException as error:  # noqa: BLE001 - raised again in whoever waits
            self._error = error
        self._call = None  # lets go of what only the operation needed
        with self._guard:
            self._ended.set()
            trigger = self._trigger
        if trigger is not None:
            trigger.set_result(None)

    def wait(self, timeout: timedelta = timedelta(0)) -> bool:
        """Return True once the operation has ended; zero waits as long as it takes.

        Raises:
            BackendError: It failed, or takes longer than `timeout`.
        """
        seconds = timeout.total_seconds()
        if not self._ended.wait(seconds if seconds > 0 else None):
            raise BackendError(complaint(self._name, f"has not ended in {seconds} s"))
        if self._error is not None:
            raise self._error
        return True

    def is_completed(self) -> bool:
        """Return whether the operation has ended, well or not."""
        return self._ended.is_set()

    def is_success(self) -> bool:
        """Return whether the operation has ended well."""
        return self._ended.is_set() and self._error is None

    def exception(self) -> BaseException | None:
        """Return why the operation failed, None if it did not."""
        return self._error

    def result(self) -> list[torch.Tensor]:
        """Return what the operation writes."""
        return self._result

    def synchronize(self) -> None:
        """Wait for the end."""
        self.wait()

    def get_future(self) -> torch.futures.Future[Any]:
        """Return the future of the result. Its callbacks run where the operation ends."""
        with self._guard:
            if self._future is None:
                # What a callback raises is an error to C++, too; what `set_exception` sets is one to Python
                # only, and DistributedDataParallel would take it for tensors.
                self._trigger = torch.futures.Future()
                self._future = self._trigger.then(self._outcome)
                if self._ended.is_set():
                    self._trigger.set_result(None)
            return self._future

    def _outcome(self, _: Any) -> list[torch.Tensor]:
        if self._error is not None:
            raise self._error
        return self._result
