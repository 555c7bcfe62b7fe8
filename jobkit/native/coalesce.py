"""Fuse small operations into one."""

from __future__ import annotations

import array
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from jobkit.errors import complaint
from jobkit.native import arrays, outputs
from jobkit.native.arrays import Operand, Target
from jobkit.native.group import Group, seconds

LARGE_BYTES = 2**18  # an operation of this size gains nothing by company

# Kinds whose results are copies, made from what the operation leaves: nothing of them can be filled later.
COPIED = (bytes, bytearray, array.array, np.generic)


class Key(NamedTuple):
    """What operations have in common that travel together."""

    op: int
    code: int
    scale: float


class Batch:
    """The operations of a `with group.coalesce():` block.

    Attributes:
        group: Whose they are.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self._packs: dict[Key, list[tuple[Operand, Target]]] = {}
        self._timeout_s = -1.0

    def __enter__(self) -> None:
        if self.group.batch is not None:
            raise RuntimeError(complaint("coalesce", "the group is in such a block already"))
        self.group.batch = self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.group.batch = None
        if kind is None:
            self._run()

    def add(
        self,
        name: str,
        op: int,
        x: Any,
        source: Operand,
        target: Target,
        out: Any,
        scale: float,
        timeout: float | None,
        wait: bool,
    ) -> Any:
        """Note an operation and return its result, whose contents come when the block ends.

        Raises:
            TypeError: The result is of a kind that cannot be filled later.
            ValueError: `wait` is off: all of the block is waited for at its end.
        """
        if not wait:
            wrong = "inside coalesce: everything is waited for when the block ends"
            raise ValueError(complaint(f"{name}: wait", wrong, got=wait, expected="True"))
        if out is None and not _is_filled_later(x):
            wrong = "inside coalesce: a result of this kind cannot be filled later"
            hint = "pass a NumPy array, or out="
            raise TypeError(complaint(name, wrong, got=type(x).__name__, hint=hint))
        limit = seconds(timeout)
        if limit >= 0:
            self._timeout_s = limit if self._timeout_s < 0 else min(limit, self._timeout_s)
        self._packs.setdefault(Key(op, source.code, scale), []).append((source, target))
        return source.finish(target.data) if out is None else out

    def _run(self) -> None:
        """Run what was noted: large operations by themselves, the others of a key as one."""
        for key, noted in self._packs.items():
            small = [each for each in noted if each[0].data.nbytes < LARGE_BYTES]
            for source, target in noted:
                if source.data.nbytes >= LARGE_BYTES or len(small) == 1:
                    self._all_reduce(key, source.data, target.data)
            if len(small) > 1:
                self._run_packed(key, small)
            for _, target in noted:
                target.result()

    def _run_packed(self, key: Key, noted: list[tuple[Operand, Target]]) -> None:
        sizes = [source.data.size for source, _ in noted]
        flat = outputs.empty((sum(sizes),), noted[0][0].data.dtype)
        np.concatenate([source.data.reshape(-1) for source, _ in noted], out=flat)
        self._all_reduce(key, flat, flat)
        start = 0
        for size, (_, target) in zip(sizes, noted, strict=True):
            target.data.reshape(-1)[:] = flat[start : start + size]
            start += size

    def _all_reduce(self, key: Key, data: Any, out: Any) -> None:
        core = self.group.core
        assert core is not None, "a group of one coalesces nothing"
        with self.group.turn():
            core.all_reduce(key.op, data, out, data.size, key.code, self._timeout_s, key.scale)


def _is_filled_later(x: Any) -> bool:
    """Return whether a result of the kind of `x` shares the memory that the operation writes."""
    library = arrays.reader(x)
    if library is not None:
        return library.__name__ == "jobkit.native.torch.memory"  # JAX's arrays are immutable
    return not isinstance(x, COPIED)
