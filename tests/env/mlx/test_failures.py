from __future__ import annotations

import pytest

from jobkit.env.mlx.failures import hint


def test_a_ring_that_could_not_connect_is_explained_with_the_remedy() -> None:
    tail = b"Traceback (most recent call last):\nRuntimeError: [ring] Couldn't connect (error: 111)\n"
    assert "15 s" in hint(tail)
    assert "jobkit.native.barrier()" in hint(tail)
    assert "\n" not in hint(tail)


@pytest.mark.parametrize("tail", [b"", b"RuntimeError: [ring] connection to a peer was lost", b"\xff[ring]"])
def test_anything_else_is_left_alone(tail: bytes) -> None:
    assert hint(tail) == ""
