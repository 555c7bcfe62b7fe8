from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.agent.events import Output
from jobkit.cli import sending
from jobkit.executors import local
from jobkit.jobs import folder, keeper, record
from jobkit.remote import keeper as remote
from jobkit.remote.kept import KeptCrew

Keep = Callable[..., tuple[Path, record.Record]]


@pytest.fixture
def keep(machine, tree: Path, jobkit_home: Path, monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Submit a job whose keeper is in this process; return its folder and its record at the end."""
    monkeypatch.setattr(remote.RemoteKeeper, "listen", lambda _: None)
    kept = []

    def stay(_submission: Any, run_dir: Path, environ: Any, _lock: int) -> None:
        one = keeper.take_over(run_dir, environ, remote.RemoteKeeper)
        kept.append(one)
        one.keep()

    monkeypatch.setattr(local, "_start_keeper", stay)

    def run(*lines: str) -> tuple[Path, record.Record]:
        hosts = f"ssh: {{hosts: [h1, h2], python: {sys.executable}}}"
        head = f"executor: ssh\nbackend: none\nranks_per_node: 1\n{hosts}\n"
        wish = sending.Wish("a.yaml", "\n".join((head, *lines, "")), str(tree))
        environ = dict(os.environ)
        prepared = sending.prepared(wish, sending.planned(wish, environ), None, environ)
        sending.send(wish, prepared, environ)
        return Path(prepared.run_dir), record.read(Path(prepared.run_dir))

    return run


def output(run_dir: Path, rank: int, stream: str = "out", attempt: int = 1, point: str | None = None) -> str:
    return folder.output(folder.task_folder(run_dir, point), attempt, rank, stream).read_text()


def test_what_ranks_print_and_how_they_ended_is_kept_here(keep: Keep, tree: Path) -> None:
    (tree / "file").write_text("of the tree")
    # The first rank has come to its end when the second one fails.
    mark = '"$JOBKIT_RUN_DIR/mark"'
    turns = f"test $JOBKIT_RANK = 0 && touch {mark}; until test -e {mark}; do sleep 0.01; done"
    lines = f"cat file; echo said >&2; {turns}; exit $JOBKIT_RANK"
    run_dir, known = keep(f"run: {json.dumps(['sh', '-c', lines])}")
    assert known.state == "failed"
    assert known.exit is not None
    assert (known.exit.status, known.exit.rank) == (1, 1)
    assert [output(run_dir, rank) for rank in (0, 1)] == ["of the tree"] * 2
    assert output(run_dir, 1, "err") == "said\n"
    assert '"status": 1' in output(run_dir, 1, "exit.json")
    assert [rank.host for rank in known.tasks[0].ranks] == [os.uname().nodename] * 2


def test_points_of_a_sweep_have_folders_of_their_own(keep: Keep) -> None:
    lines = ("run: [echo, '${{ sweep.a }}']", "sweep: {a: [x, y]}", "parallel: 2")
    run_dir, known = keep(*lines)
    assert known.state == "succeeded"
    assert [output(run_dir, 1, point=point) for point in ("0", "1")] == ["x\n", "y\n"]


def test_a_failure_is_tried_again(keep: Keep) -> None:
    _, known = keep("run: [sh, -c, 'test $JOBKIT_ATTEMPT = 2']", "retries: {failed: 1}")
    assert (known.state, known.attempt) == ("succeeded", 2)


@pytest.mark.parametrize(("times", "state"), [(1, "succeeded"), (0, "lost")])
def test_a_host_that_is_lost_is_tried_again(
    keep: Keep, monkeypatch: pytest.MonkeyPatch, times: int, state: str
) -> None:
    started = KeptCrew._start_there

    def cut(self: KeptCrew, member: Any, asked: Any, reached: Any) -> None:
        started(self, member, asked, reached)
        if asked.attempt == 1 and member.node == 1:
            member.connection.shutdown(socket.SHUT_RDWR)

    monkeypatch.setattr(KeptCrew, "_start_there", cut)
    _, known = keep(
        "run: [sh, -c, 'test $JOBKIT_ATTEMPT = 2 || sleep 600']", f"retries: {{node_failure: {times}}}"
    )
    assert (known.state, known.attempt) == (state, 1 + times)
    if not times:
        assert known.reason == "h2: the connection to its agent is lost"
        assert known.exit is not None
        assert known.exit.status == 125


def test_a_full_disk_loses_what_is_written_and_not_the_job(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_place: Path, event: object) -> None:
        if isinstance(event, Output):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(remote, "_keep", full)
    run_dir, known = keep("run: [echo, hello]")
    assert known.state == "succeeded"
    assert output(run_dir, 0) == ""
