from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from jobkit.errors import SubmitError
from jobkit.plan import Plan, plan
from jobkit.remote import arrival, connection, package
from jobkit.remote.arrival import AT_ONCE, Arrival
from jobkit.remote.session import Session
from jobkit.spec import parse


def planned(tree: Path, ssh: str = "", hosts: str = "h1, h2") -> Plan:
    section = f"ssh: {{hosts: [{hosts}], python: {sys.executable}{ssh}}}"
    text = f"run: x\nexecutor: ssh\nranks_per_node: 1\n{section}\n"
    return plan(parse(text, "a.yaml", {}), cwd=str(tree))


def runs(machine: Any) -> list[Path]:
    return list((machine.home / "runs").glob("[!.]*"))


def test_hosts_get_jobkit_and_the_tree_and_a_folder(machine, tree: Path, jobkit_home: Path) -> None:
    (tree / "file").write_text("sent")
    with Arrival("a", planned(tree), os.environ) as one:
        first, second = one.everywhere()
    assert (first.host, second.host, first.run_dir) == ("h1", "h2", str(machine.home / "runs" / "a"))
    assert (Path(first.workdir) / "file").read_text() == "sent"
    assert first.package == str(machine.home / "trees" / package.name())
    assert (Path(first.package) / "jobkit" / "agent" / "__main__.py").exists()


def test_no_host_keeps_anything_where_one_cannot_be_used(
    machine, tree: Path, jobkit_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = machine.start

    def some(login: str, command: str, *more: str) -> Any:
        if login != "h1":
            raise SubmitError(f"{login}: no")
        return start(login, command, *more)

    monkeypatch.setattr(connection, "start", some)
    with (
        pytest.raises(SubmitError) as caught,
        Arrival("a", planned(tree, "", "h2, h1, h3"), os.environ) as one,
    ):
        one.everywhere()
    assert str(caught.value) == "h2: no\nh3: no"
    assert runs(machine) == []


def test_what_comes_later_may_fail_too(machine, tree: Path, jobkit_home: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Arrival("a", planned(tree), os.environ) as one:
        assert len(one.everywhere()) == 2
        assert len(runs(machine)) == 1
        raise KeyboardInterrupt
    assert runs(machine) == []


@pytest.mark.parametrize(
    ("version", "says"), [(None, "has no jobkit"), ("0.0.1", "has another jobkit, got '0.0.1'")]
)
def test_a_host_has_to_have_this_jobkit_where_none_is_brought(
    machine, tree: Path, jobkit_home: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, says: str
) -> None:
    with Arrival("a", planned(tree, ", sync: false"), os.environ) as one:
        assert one.everywhere()[0].package is None
    hello = Session._hello
    monkeypatch.setattr(Session, "_hello", lambda self, pythons: {**hello(self, pythons), "jobkit": version})
    with (
        pytest.raises(SubmitError) as caught,
        Arrival("b", planned(tree, ", sync: false"), os.environ) as one,
    ):
        one.everywhere()
    assert str(caught.value).count(says) == 2
    assert "-m pip install jobkit==" in str(caught.value)


def test_so_many_are_asked_at_once_and_no_more(wait: Any) -> None:
    go, now, most = threading.Event(), set(), []

    def do(node: int) -> int:
        now.add(node)
        most.append(len(now))
        go.wait(60)
        now.discard(node)
        if node == 3:
            raise ValueError("whatever")
        return node

    threading.Timer(0.0, lambda: (wait(lambda: len(now) == AT_ONCE), go.set())).start()
    found = arrival.in_turns(do, range(2 * AT_ONCE))
    assert (max(most), found[0], found[-1]) == (AT_ONCE, 0, 2 * AT_ONCE - 1)
    assert "host 3 cannot be used: ValueError" in str(found[3])
