from __future__ import annotations

import io

import pytest

from jobkit.remote.there import frames


def test_frames_follow_each_other() -> None:
    stream = io.BytesIO(frames.packed({"a": "é\n"}, b"x\ny") + frames.packed({}))
    assert frames.read(stream) == ({"a": "é\n", "size": 3}, b"x\ny")
    assert frames.read(stream) == ({"size": 0}, b"")
    with pytest.raises(EOFError):
        frames.read(stream)


@pytest.mark.parametrize("cut", [1, 5, len(frames.packed({"a": 1}, b"xyz")) - 1])
def test_a_frame_that_is_cut_off_is_no_frame(cut: int) -> None:
    with pytest.raises(EOFError):
        frames.read(io.BytesIO(frames.packed({"a": 1}, b"xyz")[:cut]))


def test_a_line_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="without an end"):
        frames.read(io.BytesIO(b"x" * (frames.LINE_BYTES + 1)))
