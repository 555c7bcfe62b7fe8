"""What a contender's library has to offer so that it can be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

IN_PLACE, OUT, ALLOCATING = "in-place", "out", "alloc"


class UnservedError(Exception):
    """The library has no such operation, element type or form."""


@dataclass(frozen=True)
class Call:
    """An operation that is ready to be repeated.

    Attributes:
        run: Calls it once and returns when it is complete; no arguments.
        result: The memory that receives the result; None where `run` returns it.
        times: How many operations, one after the other, a run is: two for a message there and back.
    """

    run: Callable[[], Any]
    result: Any = None
    times: int = 1


class Library:
    """One library in one rank; making it forms its group. The base is a library that serves nothing.

    Attributes:
        version: Name and version.
        rank, size: This process among those of the contender.
        forms: How it can be called, its natural form first.
    """

    version = "none"
    rank = 0
    size = 1
    forms: tuple[str, ...] = (OUT, IN_PLACE, ALLOCATING)

    def form(self, wanted: str, op: str) -> str:  # noqa: ARG002 libraries differ by operation
        """Return the form in which an operation is measured where `wanted` is asked for."""
        return wanted if wanted in self.forms else self.forms[0]

    def barrier(self) -> None:
        """Return when every rank has called it."""

    def array(self, values: np.ndarray[Any, Any], dtype: str) -> Any:
        """Return an array of the library's kind. `values` are float32 for bfloat16, else of that type."""
        if dtype == "bfloat16":
            raise UnservedError("bfloat16")
        return values

    def numpy(self, x: Any) -> np.ndarray[Any, Any]:
        """Return an array of the library's kind as one of NumPy, float32 for bfloat16."""
        return np.asarray(x)

    def call(self, op: str, x: Any, form: str) -> Call:  # noqa: ARG002 the base serves nothing
        """Return an operation on `x`, ready to be repeated.

        "send" is a message there and back between ranks 2i and 2i + 1.

        Raises:
            UnservedError: There is no such operation. Every rank raises it, before anything is sent.
        """
        raise UnservedError(f"{op} ({form})")

    def engine(self, x: Any, out: Any) -> Callable[[int], float]:  # noqa: ARG002 there is none
        """Return what sums `x` so many times into `out` without Python in between; it returns the seconds.

        Raises:
            UnservedError: That is for jobkit's own engine only, or there is no compiler.
        """
        raise UnservedError("a loop without Python")

    def partner(self) -> int | None:
        """Return whom this rank exchanges messages with; None for the last one of an odd number."""
        other = self.rank ^ 1
        return other if other < self.size else None

    def close(self) -> None:
        """Leave the group. Collective."""
