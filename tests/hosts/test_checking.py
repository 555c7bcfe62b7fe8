"""Hosts that are this machine, asked as others are."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from jobkit import __version__
from jobkit.errors import SubmitError
from jobkit.hosts import checking
from jobkit.hosts.checking import Asked


def test_hosts_answer_and_reach_each_other() -> None:
    hosts = [Asked(name, True, (address,)) for name, address in (("a", "127.0.0.1"), ("b", "127.0.0.2"))]

    found = checking.check(hosts, (sys.executable,))

    assert [answer.error for answer in found.answers] == ["", ""]
    one, other = found.answers
    assert (one.jobkit, one.program) == (__version__, sys.executable)
    assert abs(one.skew_s) < 1 and one.skew_error_s >= 0
    assert found.ways[0][0] == found.ways[1][1] == {}
    assert isinstance(found.ways[0][1]["127.0.0.2"], float)
    assert isinstance(found.ways[1][0]["127.0.0.1"], float)
    assert isinstance(other.listens["127.0.0.2"], int)


def test_a_host_that_says_nothing_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *_: object) -> None:
        raise SubmitError(f"{name}: refused")

    monkeypatch.setattr(checking.connection, "start", refuse)

    found = checking.check([Asked("far", False, ("10.0.0.1",)), Asked("a", True)], (sys.executable,))

    assert [answer.error for answer in found.answers] == ["far: refused", ""]
    assert found.ways == (({}, {}), ({}, {}))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('printf "\\nM\\n{\\"old\\": \\"3.8\\", \\"size\\": 0}\\n"', "its Python is too old, got '3.8'"),
        ('printf "\\nM\\nnonsense\\n"', "answers what is no answer"),
        ('printf "\\nM\\n{}\\n"', "answers what is no answer"),
    ],
)
def test_answers_that_are_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, wrong: str
) -> None:
    monkeypatch.setattr(checking.secrets, "token_hex", lambda _: "M")
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{text}\nexec cat >/dev/null\n")
    python.chmod(0o755)

    found = checking.check([Asked("a", True)], (shlex.quote(str(python)),))

    assert wrong in found.answers[0].error
