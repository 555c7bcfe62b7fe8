from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.cli import sending
from jobkit.executors import local, ssh
from jobkit.jobs import folder, keeper, process, record
from jobkit.jobs.record import Origin
from jobkit.plan import plan
from jobkit.remote import detached, places
from jobkit.spec import parse


@pytest.fixture
def keep(jobkit_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Keep a job in this process, which is its first host; return its folder."""
    monkeypatch.setattr(detached.DetachedKeeper, "listen", lambda _: None)
    made: list[Any] = []

    def stay(submission: Any, run_dir: Path, environ: Any, _lock: int) -> None:
        one = keeper.take_over(run_dir, environ, detached.DetachedKeeper)
        made.append((submission.command, json.loads((run_dir / detached.CALL).read_bytes())))
        one.keep()

    monkeypatch.setattr(local, "_start_keeper", stay)

    def run(*lines: str, **environ: str) -> Path:
        text = "\n".join(("executor: ssh\nbackend: none\nssh: {hosts: [h1], detach: true}", *lines, ""))
        me = process.identify(os.getpid())
        assert me is not None
        origin = Origin(("jobkit",), "/", "a.yaml", None, None, (), (), "0.1.0", None, me)
        given = {**os.environ, **environ}
        hosts = [places.Place("h1", (0,), sys.executable, None, str(tmp_path / "run"), "/", "node1")]
        wanted = plan(parse(text, "a.yaml", given), cwd="/")
        run.made = made
        return ssh.keep_here(wanted, "a", text, places.dumps(hosts), given, origin)

    return run


def test_the_first_host_keeps_the_job_and_its_output(keep: Callable[..., Path], jobkit_home: Path) -> None:
    run_dir = keep(
        "run: [sh, -c, 'echo $TOKEN $WORD']", "secrets: [TOKEN]", "forward: [WORD]", TOKEN="t", WORD="w"
    )
    known = record.read(run_dir)
    assert (known.state, known.executor) == ("succeeded", "ssh")
    assert folder.output(run_dir, 1, 0, "out").read_text() == "t w\n"
    ((command, call),) = keep.made
    assert command == (sys.executable, "-m", "jobkit.remote.detached", str(run_dir))
    assert set(call) == {"addresses", "port", "secret"}
    assert not (run_dir / detached.CALL).exists()
    assert '"t"' not in (run_dir / folder.SECRETS).read_text()


def test_a_detached_jobs_plan_is_what_would_be_sent(tmp_path: Path, jobkit_home: Path) -> None:
    text = "run: x\nexecutor: ssh\nssh: {hosts: [h1], detach: true}\nsecrets: [TOKEN]\n"
    wish = sending.Wish("a.yaml", text, str(tmp_path))
    environ = {**os.environ, "TOKEN": "t"}
    sent = sending.prepared(wish, sending.planned(wish, environ), "a", environ)
    assert sent.command[:2] == ("ssh", "h1")
    assert [file.path for file in sent.files] == ["spec.yaml", "plan.json", "hosts.json", "remote.json"]
