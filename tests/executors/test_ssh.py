from __future__ import annotations

import json
import sys
from pathlib import Path

from jobkit.executors import ssh
from jobkit.jobs.submission import Submission
from jobkit.plan import plan
from jobkit.spec import parse


def prepared(text: str, **environ: str) -> Submission:
    around = {"JOBKIT_HOME": "/home/jobkit", **environ}
    head = "run: x\nexecutor: ssh\n"
    return ssh.prepare(plan(parse(head + text, "a.yaml", around), cwd="/project"), "a", text, around)


def test_what_is_sent_to_each_host_is_shown() -> None:
    sent = prepared("ranks: 4\nssh: {hosts: [h1, me@h2]}\n")
    assert sent.command == (sys.executable, "-m", "jobkit.remote.keeper", "/home/jobkit/jobs/a")
    rows = json.loads(next(file for file in sent.files if file.path == "hosts.json").text or "")
    assert [(row["host"], row["ranks"]) for row in rows] == [("h1", [0, 1]), ("me@h2", [2, 3])]
    assert rows[0]["workdir"] == "<run folder>/tree"
    assert sent.synced == ("/project", "h1,me@h2:<run folder>/tree")


def test_no_tree_is_sent_that_nobody_starts_in() -> None:
    assert prepared("ssh: {hosts: [h1], sync: false}\n").synced is None
    assert prepared("ssh: {hosts: [h1], workdir: /data}\n").synced is None


def test_no_secret_is_in_what_is_shown() -> None:
    sent = prepared("secrets: [TOKEN]\nssh: {hosts: [h1]}\n", TOKEN="very secret")
    assert "very secret" not in str(sent)
    assert Path(sent.run_dir) == Path("/home/jobkit/jobs/a")
