"""A group of ranks that communicate."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from jobkit.errors import complaint

if TYPE_CHECKING:
    from jobkit.native import _core
    from jobkit.native.coalesce import Batch
    from jobkit.native.nccl.plane import Plane


LARGEST = 2**31 - 1  # of the numbers that a split may be given

Turn = Callable[[], AbstractContextManager[Any]]

_NOBODY_WAITS: AbstractContextManager[Any] = nullcontext()


def _no_turns() -> AbstractContextManager[Any]:
    return _NOBODY_WAITS


def _no_quick_way(*_: Any) -> Any:
    return NotImplemented


class Group:
    """Ranks that communicate, as `init` and `split` return them.

    Every rank of a group issues the same collectives in the same order. One group serves one thread at a
    time; different groups may be used in parallel.

    Attributes:
        backend: The name of the backend that formed it, "none" for a group of one.
        core: The engine's group, None in a group of one.
        devices: What carries arrays in the memory of devices, None where nothing does.
        is_authenticated: Whether its members proved that they belong to the job.
        quick: The engine's quick way for plain NumPy arrays, which answers NotImplemented to all else, and to
            everything where operations have to take the long way.
        quick_message: The same for messages.
    """

    __slots__ = (
        "__weakref__",
        "_batch",
        "_owner",
        "_rank",
        "_size",
        "_turn",
        "backend",
        "core",
        "devices",
        "is_authenticated",
        "quick",
        "quick_message",
    )

    def __init__(
        self, core: _core.Group | None, *, backend: str = "none", is_authenticated: bool = False
    ) -> None:
        self.core = core
        self.devices: Plane | None = None
        self.backend = backend
        self.is_authenticated = is_authenticated or core is None
        self._turn: Turn = _no_turns
        self._batch: Batch | None = None
        self._owner = os.getpid()
        self._rank = 0 if core is None else core.rank
        self._size = 1 if core is None else core.size
        self._find_quick_way()

    def __repr__(self) -> str:
        return f"<jobkit.native.Group {self.backend}: rank {self._rank} of {self._size}>"

    def rank(self) -> int:
        """Return this process's rank in the group, from 0."""
        return self._rank

    def size(self) -> int:
        """Return the number of ranks."""
        return self._size

    def split(self, color: int | None, key: int = -1, *, timeout: float | None = None) -> Group | None:
        """Return the group of the ranks that gave the same `color`. Collective: every rank of this group.

        Args:
            color: An integer from 0 to 2**31 - 1; with None this rank joins no group.
            key: Orders the ranks of the new group, ties by rank; below 0 for all keeps their order. Less than
                2**31.
            timeout: Seconds; None for the group's own.

        Returns:
            The new group, None where `color` is None.

        Raises:
            ValueError: `color` or `key` is out of range.
            TypeError: One of them is not an integer.
            BackendError: A rank failed or did not come.
        """
        if color is not None:
            expected = f"an integer from 0 to {LARGEST}, or None"
            color = integer("split", "not a color", color, expected, 0, LARGEST)
        expected = f"an integer up to {LARGEST}"
        key = max(integer("split", "not a key", key, expected, None, LARGEST), -1)
        if self.core is None:
            return None if color is None else self
        with self.turn():
            part = self.core.split(color, key, seconds(timeout))
        return None if part is None else self._part(part)

    def _part(self, core: _core.Group) -> Group:
        """Return the group of the engine's `core`, which was made of this one's. Collective: each of it."""
        if core.size == 1:
            return Group(None, backend=self.backend)
        part = Group(core, backend=self.backend, is_authenticated=self.is_authenticated)
        part.devices = None if self.devices is None else self.devices.part(core)
        return part

    def coalesce(self) -> Batch:
        """Return a context for `with` in which small operations wait and then travel as one. Collective.

        Inside, `all_sum`, `all_max` and `all_min` of this group only note what they are to do; their results
        are filled when the block ends. All that have the same element type, operation and scale are one
        operation then, apart from large ones. Their inputs may not be changed, and their results not be
        used, before that. Every rank calls the same operations in the block. Any other operation of the group
        raises RuntimeError there. If the block raises, nothing is sent.
        """
        from jobkit.native.coalesce import Batch  # which needs this module

        return Batch(self)

    @property
    def batch(self) -> Batch | None:
        """The block of `coalesce` that the group is in."""
        return self._batch

    @batch.setter
    def batch(self, batch: Batch | None) -> None:
        self._batch = batch
        self._find_quick_way()

    @property
    def turn(self) -> Turn:
        """Makes the context in which the engine's group is used.

        Who shares it with another thread, as the bridge to MLX does with MLX's streams, puts its own here.

        Raises:
            RuntimeError: The group is in a block of `coalesce`.
        """
        if self._batch is not None:
            expected = "all_sum, all_max or all_min of arrays"
            raise RuntimeError(complaint("coalesce", "another operation inside the block", expected=expected))
        return self._turn

    @turn.setter
    def turn(self, turn: Turn) -> None:
        self._turn = turn
        self._find_quick_way()

    def _find_quick_way(self) -> None:
        core = self.core if self._turn is _no_turns and self._batch is None else None
        self.quick: Callable[..., Any] = _no_quick_way if core is None else core.quick
        self.quick_message: Callable[..., Any] = _no_quick_way if core is None else core.quick_message

    def shrink(self, *, timeout: float | None = None) -> Group:
        """Return the group of the ranks that are still there, after a failure. Collective: each of them.

        No connection is opened, and this group is closed. `init` returns the old one's failure until
        `shutdown`: pass the new group as `group=`.

        Args:
            timeout: Seconds, None for the group's own, after which ranks that are alive and do not call this
                are left out. Those that are gone or do not answer are left out as soon as that is known.

        Raises:
            BackendError: The others have gone on without this rank.
        """
        if self.core is None:
            return self
        if self.devices is not None:
            self.devices.abort()
        with self.turn():
            rest = self.core.shrink(seconds(timeout))
        return self._part(rest)

    def abort(self, reason: str = "aborted by the program") -> None:
        """Fail every operation of this group, on every rank, with `reason`. May be called from any thread."""
        if self.core is not None:
            self.core.abort(reason)

    def failure(self) -> str | None:
        """Return why no operation of this group can succeed any more, None while all is well."""
        return None if self.core is None else self.core.failure

    def is_inherited(self) -> bool:
        """Return whether this process is a fork's child, and the group its parent's."""
        return self.core is not None and os.getpid() != self._owner

    def topology(self) -> dict[str, Any]:
        """Return what the ranks found out about each other when they met; empty in a group of one."""
        return {} if self.core is None else self.core.topology()

    def close(self) -> None:
        """Leave the group in an orderly way. Peers that need nothing more of this rank notice nothing."""
        if self.devices is not None and not self.is_inherited():
            self.devices.close()
        if self.core is not None:
            self.core.close()


def connected(group: Group) -> _core.Group:
    """Return the engine's group.

    Raises:
        ValueError: `group` is of size one, where there is nobody to send to, as in MLX.
    """
    if group.core is None:
        raise ValueError(
            complaint("point-to-point", "no other rank", got="a group of one", expected="two ranks")
        )
    return group.core


def peer(group: Group, name: str, rank: int) -> int:
    """Return `rank` as the number of a rank of the group; `name` is the argument's.

    Raises:
        ValueError: The group has no such rank.
        TypeError: It is not an integer.
    """
    last = group.size() - 1
    return integer(name, "no such rank", rank, f"0 to {last}", 0, last)


def integer(where: str, wrong: str, given: Any, expected: str, low: int | None, high: int) -> int:
    """Return an argument that is an integer.

    Raises:
        ValueError: It is below `low` or above `high`: `wrong`, and `expected` otherwise.
        TypeError: It is not an integer.
    """
    try:
        number = operator.index(given)
    except TypeError:
        raise TypeError(complaint(where, "not an integer", got=shown(given), expected=expected)) from None
    if number > high or (low is not None and number < low):
        raise ValueError(complaint(where, wrong, got=given, expected=expected))
    return number


def seconds(timeout: float | None) -> float:
    """Return a `timeout=` argument as the engine takes it: below 0 for the group's own.

    Raises:
        ValueError: It is not a positive number of seconds.
        TypeError: It is not a number.
    """
    if timeout is None:
        return -1.0
    expected = "seconds above 0, or None"
    number = real("timeout", timeout, expected)
    if not 0 < number < float("inf"):
        raise ValueError(complaint("timeout", "not a time", got=timeout, expected=expected))
    return number


def real(where: str, given: Any, expected: str) -> float:
    """Return an argument that is a real number, of any library; `expected` is for errors.

    Raises:
        TypeError: It is not.
    """
    try:
        if isinstance(
            given, str | bytes | bytearray | complex
        ):  # which float takes, or refuses in its own way
            raise TypeError
        return float(given)
    except (TypeError, ValueError):
        raise TypeError(complaint(where, "not a number", got=shown(given), expected=expected)) from None


def shown(given: Any) -> Any:
    """Return what an error shows of an argument of the wrong type: it, or its type where it may be large."""
    return given if isinstance(given, str | int | float | complex) else type(given).__name__
