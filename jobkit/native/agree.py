"""Check that all ranks have the same tree, before or instead of moving it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from jobkit.errors import BackendError, complaint
from jobkit.native import arrays, backends, collectives
from jobkit.native.blobs import all_gather_bytes
from jobkit.native.group import Group
from jobkit.native.tree import Leaf, leaves

HASH_BYTES = 8


def assert_same(tree: Any, *, group: Group | None = None, timeout: float | None = None) -> None:
    """Return if every rank has the same tree, bit by bit. Collective.

    Structure, shapes, element types and values count; sixteen bytes travel per rank where all is well.

    Raises:
        BackendError: It differs, on every rank: the message names the first leaf that does, and the ranks.
    """
    group = backends.chosen(group)
    if group.core is None:
        return
    found = leaves(tree)
    check_structure("assert_same", describe(found), group, timeout)
    hashes = np.array([_hash(_contents(leaf.value, group)) for leaf in found], np.uint64)
    totals = collectives.all_gather(_number(hashes.tobytes()), group=group, timeout=timeout)
    if (totals == totals[0]).all():
        return
    table = collectives.all_gather(hashes[None], group=group, timeout=timeout)
    column = int(np.argmax((table != table[0]).any(axis=0)))
    ranks = _others(table[:, column].tolist())
    expected = f"the bits of rank {group.size() - 1 if 0 in ranks else 0}"
    raise BackendError(
        complaint(
            f"assert_same: {found[column].path or 'the array'}",
            f"differs on {_named(ranks)}",
            expected=expected,
        )
    )


def check_structure(
    name: str, lines: Sequence[str], group: Group, timeout: float | None = None, arguments: str = ""
) -> None:
    """Return if every rank gave the same lines and arguments: eight bytes travel per rank. Collective.

    Raises:
        BackendError: They differ, on every rank: the message names the first line that does, and the ranks.
            `name` is the operation's.
    """
    text = "\n".join([arguments, *lines]).encode()
    hashes = collectives.all_gather(_number(text), group=group, timeout=timeout)
    if (hashes == hashes[0]).all():
        return
    texts = [blob.decode().split("\n") for blob in all_gather_bytes(text, group, timeout)]
    ranks = _others(["\n".join(other) for other in texts])
    good = next(rank for rank in range(group.size()) if rank not in ranks)
    got, expected = _first_difference(texts[ranks[0]], texts[good])
    what = "the tree" if texts[ranks[0]][0] == texts[good][0] else "the call"
    wrong = f"{what} of {_named(ranks)} is another one"
    raise BackendError(complaint(name, wrong, got=got, expected=f"{expected!r} as on rank {good}"))


def describe(found: Sequence[Leaf]) -> list[str]:
    """Return a line for each leaf: 'layers.0.weight float32 (64, 10)'.

    Raises:
        TypeError: A leaf is not an array that is served; the message names it.
    """
    return [f"{leaf.path} {type_name(leaf)} {arrays.shape_of(leaf.value)}" for leaf in found]


def type_name(leaf: Leaf) -> str:
    """Return the name of a leaf's element type, as NumPy calls it.

    Raises:
        TypeError: It is not an array that is served; the message names the leaf.
    """
    try:
        return arrays.type_name(leaf.value)
    except TypeError as error:
        raise TypeError(f"{leaf.path or 'the tree'}: {error}") from None


def _contents(x: Any, group: Group) -> memoryview:
    """Return the bytes of an array. An MLX array is evaluated; its elements travel as unsigned integers."""
    if arrays.is_on_device(x):
        x = collectives.on_device("to_host", x, group=group)
    if arrays.is_mlx(x):
        mx = sys.modules["mlx.core"]
        x = np.asarray(mx.contiguous(x).reshape(-1).view(mx.uint8))
    return arrays.bytes_of(arrays.operand(x).data)


def _hash(data: memoryview | bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=HASH_BYTES).digest(), "little")


def _number(data: bytes) -> Any:
    return np.array([_hash(data)], np.uint64)


def _others(values: list[Any]) -> list[int]:
    """Return the ranks whose value is not the most frequent one; at a tie rank 0's counts as right."""
    usual = max(values, key=lambda value: (values.count(value), value == values[0]))
    return [rank for rank, value in enumerate(values) if value != usual]


def _first_difference(left: list[str], right: list[str]) -> tuple[str, str]:
    pairs = zip([*left, "no more leaves"], [*right, "no more leaves"], strict=False)
    return next((a, b) for a, b in pairs if a != b)


def _named(ranks: list[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
