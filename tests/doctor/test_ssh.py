from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from jobkit.doctor import ssh
from jobkit.doctor.row import FAILS, OK, SKIPPED, WARNING, Question, Row
from jobkit.errors import SubmitError
from jobkit.plan import plan
from jobkit.remote import session
from jobkit.spec import parse


class Talk:
    """A host that answers."""

    jobkit: Any = None
    python = "/usr/bin/python3"
    seen: ClassVar[dict[str, Any]] = {
        "home": "/home/me/jobkit",
        "writable": True,
        "free": 9e9,
        "workdir": True,
    }

    def __init__(self, host: str, *pythons: str, **_: str) -> None:
        assert pythons == (sys.executable, "python3")
        if host == "gone":
            raise SubmitError("gone: no such host\n\nhint: look")

    def ask(self, _: object) -> Any:
        return self.seen, b""

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _hosts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(session, "Session", Talk)
    yield


def rows(section: str, *, may_run: bool = True, executor: str = "ssh") -> list[Row]:
    made = plan(
        parse(f"run: x\nexecutor: {executor}\nranks_per_node: 1\nssh: {section}\n", "a.yaml", {}),
        cwd="/project",
    )
    return list(ssh.checks(Question(os.environ, made, None, may_run)))


def states(found: list[Row]) -> dict[str, str]:
    return {row.check: row.state for row in found}


def test_each_host_is_told_whatever_becomes_of_others() -> None:
    found = rows("{hosts: [h1, gone]}")
    assert states(found) == {
        "host h1": OK, "jobkit on h1": WARNING, "folder on h1": OK, "host gone": FAILS,
    }  # fmt: skip
    assert (found[-1].found, found[-1].remedy) == ("gone: no such host", "look")
    assert all(row.remedy for row in found if row.state in (WARNING, FAILS))


@pytest.mark.parametrize(
    ("change", "section", "check", "state"),
    [
        ({"jobkit": "0.0.1"}, "{hosts: [h1], sync: false}", "jobkit on h1", FAILS),
        ({"jobkit": ssh.jobkit.__version__}, "{hosts: [h1], sync: false}", "jobkit on h1", OK),
        ({"jobkit": ssh.jobkit.__version__}, "{hosts: [h1]}", "jobkit on h1", OK),
        ({"seen": {**Talk.seen, "writable": False}}, "{hosts: [h1]}", "folder on h1", FAILS),
        ({"seen": {**Talk.seen, "free": 1000}}, "{hosts: [h1]}", "folder on h1", WARNING),
        ({"seen": {**Talk.seen, "workdir": False}}, "{hosts: [h1], workdir: /data}", "workdir on h1", FAILS),
    ],
)
def test_what_a_host_lacks_is_told(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], section: str, check: str, state: str
) -> None:
    for name, value in change.items():
        monkeypatch.setattr(Talk, name, value)
    found = next(row for row in rows(section) if row.check == check)
    assert found.state == state
    assert found.remedy or state == OK


def test_nobody_is_asked_where_that_is_not_wanted() -> None:
    assert states(rows("{hosts: [gone]}", may_run=False)) == {"hosts": SKIPPED}
    assert rows("{hosts: [gone]}", executor="local") == []
