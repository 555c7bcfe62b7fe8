"""Events for programs."""

from __future__ import annotations

import json

import pytest

from jobkit.cli.events import emit


def test_an_event_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    emit("output", id="a", text="two\nlines \u2028")

    (line,) = capsys.readouterr().out.splitlines()
    event = json.loads(line)
    assert (event.pop("event"), event.pop("time")[-1:], event) == (
        "output",
        "Z",
        {"id": "a", "text": "two\nlines \u2028"},
    )
