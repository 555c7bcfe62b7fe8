from __future__ import annotations

import doctest

import pytest

from jobkit.errors import SubmitError
from jobkit.slurm import client, memory


def test_its_examples_hold() -> None:
    assert doctest.testmod(memory).failed == 0


def test_what_the_database_learns_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["", "7.0|||\n", "7.0|1000|2|h\n"]
    monkeypatch.setattr(client, "call", lambda *_: client.Answer(0, answers.pop(0), ""))
    monkeypatch.setattr(memory, "_POLL_S", 0)
    assert memory.hungriest("7", {}) == (2, "h")


def test_without_a_database_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "call", lambda *_: client.Answer(1, "", "accounting storage is disabled"))
    assert memory.hungriest("7", {}) is None


def test_without_sacct_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*_: object) -> client.Answer:
        raise SubmitError("no such program")

    monkeypatch.setattr(client, "call", call)
    assert memory.hungriest("7", {}) is None
