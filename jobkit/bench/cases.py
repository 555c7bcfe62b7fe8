"""What is measured: an operation on so many bytes, and what its time says of the links."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

OPERATIONS = ("all_sum", "all_gather", "sum_scatter", "broadcast", "all_to_all", "send")
ITEM_SIZES = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2,
    "int32": 4, "uint32": 4, "float32": 4, "int64": 8, "uint64": 8, "float64": 8, "complex64": 8,
}  # fmt: skip
FORMS = ("out", "in-place", "alloc")


@dataclass(frozen=True)
class Case:
    """One point of the measurement.

    Attributes:
        op: The operation.
        size: Number of ranks.
        count: Elements of a rank's input.
        dtype: Their type.
        form: "out", "in-place" or "alloc"; a library without it is measured in its own.
    """

    op: str
    size: int
    count: int
    dtype: str
    form: str

    @property
    def n_bytes(self) -> int:
        """Bytes of a rank's input or output, whichever is larger, as nccl-tests counts."""
        joined = self.size if self.op == "all_gather" else 1
        return self.count * joined * ITEM_SIZES[self.dtype]

    @property
    def bus_factor(self) -> float:
        """What the rate of the operation is multiplied by to give that of each rank's link.

        The bytes that pass a rank's link one way, over `n_bytes`: busbw does not depend on the number of
        ranks where the links are the limit.

        Source: https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md
        """
        rest = (self.size - 1) / self.size
        factors = {"all_sum": 2 * rest, "broadcast": 1.0, "send": 1.0}
        return factors.get(self.op, rest)


def case(op: str, size: int, n_bytes: int, dtype: str, form: str) -> Case:
    """Return the case with so many bytes, or the next above that can be divided among the ranks."""
    elements = -(-n_bytes // ITEM_SIZES[dtype])
    part = -(-elements // size)
    counts = {"all_gather": part, "sum_scatter": part * size, "all_to_all": part * size}
    return Case(op, size, counts.get(op, elements), dtype, form)


def cases(
    ops: Sequence[str], size: int, sizes: Sequence[int], dtypes: Sequence[str], forms: Sequence[str]
) -> Iterator[Case]:
    """Yield every case for a number of ranks, each once, sizes innermost."""
    seen = set()
    for op in ops:
        for dtype in dtypes:
            for form in forms:
                for n_bytes in sizes:
                    one = case(op, size, n_bytes, dtype, form)
                    if one not in seen:
                        seen.add(one)
                        yield one
