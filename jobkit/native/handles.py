"""Start an operation now and wait for it later."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol

from jobkit.errors import complaint
from jobkit.native.group import Group, seconds


class Pending(Protocol):
    """What `Handle` waits for: the engine's handle, or what does for an array of MLX."""

    def wait(self, timeout_s: float) -> bool:
        """Return whether it is complete after so many seconds; below 0 wait without a limit."""

    def done(self) -> bool:
        """Return whether waiting would return, or raise, at once."""


class Handle:
    """An operation that goes on while the program does other things, as `wait=False` returns it.

    Operations of a group run in the order in which they were issued. Until one is complete, what it reads
    may not be written, and what it writes may not be used. A handle that is dropped completes anyway; if it
    fails, the group's next operation raises its error.
    """

    __slots__ = ("_finish", "_name", "_pending", "_result")

    def __init__(self, name: str, pending: Pending | None, finish: Callable[[], Any]) -> None:
        self._name = name
        self._pending = pending
        self._finish: Callable[[], Any] | None = finish
        self._result: Any = None

    def __repr__(self) -> str:
        return f"<jobkit.native.Handle {self._name}: {'complete' if self.done() else 'on its way'}>"

    def done(self) -> bool:
        """Return whether `wait` would return, or raise, at once."""
        return self._pending is None or self._pending.done()

    def wait(self, timeout: float | None = None) -> Any:
        """Return the operation's result once it is complete; later calls return it again.

        An interrupt ends the operation, and with it the group, as it does where the call itself waits.

        Args:
            timeout: Seconds to wait; None for as long as the operation takes.

        Raises:
            TimeoutError: It is not complete by then. It goes on, and may be waited for again.
            ValueError: `timeout` is not a positive number of seconds.
            BackendError: The operation failed.
        """
        limit = seconds(timeout)
        if self._pending is not None:
            if not self._pending.wait(limit):
                raise TimeoutError(f"{self._name}: not complete after {timeout} s; it goes on")
            self._pending = None
        if self._finish is not None:
            self._result = self._finish()
            self._finish = None
        return self._result


def issue(
    name: str,
    group: Group,
    timeout: float | None,
    wait: bool,
    finish: Callable[[], Any],
    call: Callable[..., Pending | None],
    *arguments: Any,
    **options: Any,
) -> Any:
    """Return the result of an operation of the engine, or with `wait` off a handle on it.

    Args:
        name: The operation's.
        group: Whose it is.
        timeout: Seconds, as the caller gave it.
        wait: Whether to return once it is complete.
        finish: Makes the result once it is.
        call: The method of the engine's group.
        arguments: Its arguments but for the timeout.
        options: Its named arguments.
    """
    limit = seconds(timeout)
    with group.turn():
        pending = call(*arguments, timeout_s=limit, wait=bool(wait), **options)
    return finish() if wait else Handle(name, pending, finish)


def ready(name: str, result: Any, wait: bool) -> Any:
    """Return a result that is there already, or with `wait` off a handle on it."""
    return result if wait else Handle(name, None, lambda: result)


def started(name: str, result: Any, wait: bool) -> Any:
    """Return what a library's own operation returned; with `wait` off a handle on it.

    An array of MLX is lazy: its evaluation begins.
    """
    pending = None if wait or type(result).__module__ != "mlx.core" else _Evaluation(result)
    return result if wait else Handle(name, pending, lambda: result)


class _Evaluation:
    """The evaluation of an array of MLX, on MLX's stream."""

    def __init__(self, result: Any) -> None:
        self._result = result
        self._is_done = False
        sys.modules["mlx.core"].async_eval(result)

    def wait(self, timeout_s: float) -> bool:
        if timeout_s >= 0:
            wrong = "MLX waits for its arrays without a limit"
            hint = "give the operation itself a timeout"
            raise ValueError(complaint("timeout", wrong, got=timeout_s, expected="None", hint=hint))
        if not self._is_done:
            sys.modules["mlx.core"].eval(self._result)
            self._is_done = True
        return True

    def done(self) -> bool:  # MLX does not say
        return self._is_done
