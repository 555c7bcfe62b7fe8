"""Byte strings of any length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobkit.native.blobs import all_gather_bytes, broadcast_bytes
from jobkit.native.group import Group

pytest.importorskip("jobkit.native._core")

Run = Callable[..., list[Any]]


def test_every_rank_gets_the_bytes_of_all(run_ranks: Run) -> None:
    def program(group: Group) -> list[bytes]:
        return all_gather_bytes(b"\0x" * (1000 * group.rank()), group)

    assert run_ranks(3, program) == [[b"", b"\0x" * 1000, b"\0x" * 2000]] * 3


def test_nothing_at_all_may_be_gathered(run_ranks: Run) -> None:
    assert run_ranks(2, lambda group: all_gather_bytes(b"", group)) == [[b"", b""]] * 2


@pytest.mark.parametrize("data", [b"", b"abc", bytes(100_000)], ids=len)
def test_every_rank_gets_the_roots_bytes(run_ranks: Run, data: bytes) -> None:
    def program(group: Group) -> bytes:
        return broadcast_bytes(data if group.rank() == 1 else b"ignored", 1, group)

    assert run_ranks(3, program) == [data] * 3
