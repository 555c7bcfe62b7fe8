"""One thing for many hosts."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from jobkit.errors import SubmitError
from jobkit.hosts import fan_out


def test_answers_and_errors_come_in_the_order_of_the_hosts() -> None:
    names = [str(number) for number in range(250)]

    def do(name: str) -> int:
        if name == "7":
            raise SubmitError("seven")
        return int(name)

    found = fan_out.each(names, do)

    assert [str(answer) for answer in found] == [*names[:7], "seven", *names[8:]]
    assert fan_out.each([], do) == []


def test_hosts_are_asked_at_once() -> None:
    meeting = threading.Barrier(fan_out.AT_ONCE, timeout=60)

    assert (
        fan_out.each([str(n) for n in range(fan_out.AT_ONCE)], lambda _: meeting.wait() >= 0)
        == [True] * fan_out.AT_ONCE
    )


def test_nobody_waits_for_what_failed_by_a_bug(
    monkeypatch: pytest.MonkeyPatch, wait: Callable[..., object]
) -> None:
    shown: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: shown.append(args.exc_type))

    def do(name: str) -> str:
        return {"a": "fine"}[name]

    assert [str(answer) for answer in fan_out.each(["a", "b"], do)] == ["fine", "b: cannot be asked"]
    assert wait(lambda: shown == [KeyError])
