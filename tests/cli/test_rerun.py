from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.jobs import find

Jobkit = Callable[..., Any]
Spec = Callable[..., str]

ECHO = "run: bash -c 'echo ${WORD:-one} $TWO' --\nbackend: none\nenv: {TWO: two}\n"


def plan(job: str) -> dict[str, Any]:
    return json.loads((find.one(job, os.environ).folder / "plan.json").read_text())


def test_the_spec_is_read_again_with_the_same_options(
    jobkit: Jobkit, spec: Spec, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = spec("run: bash -c 'echo $TWO $@' x\nbackend: none\nenv: {TWO: two}\n")
    jobkit("submit", name, "--set", "env.TWO=2", "-n", "2", "--wait", "--id", "a", "--", "more")
    (work / name).unlink()
    (work / "elsewhere").mkdir()
    monkeypatch.chdir(work / "elsewhere")
    again = jobkit("rerun", "a", "--follow", "--id", "b")
    assert again.status == 0
    assert again.out == "b\n2 more\n2 more\n"
    before, after = plan("a"), plan("b")
    assert before == after
    assert after["workdir"] == str(work)


def test_set_comes_on_top(jobkit: Jobkit, spec: Spec) -> None:
    jobkit(
        "submit", spec("run: bash -c 'echo $A'\nbackend: none\n"), "--set", "env.A=1", "--wait", "--id", "a"
    )
    jobkit("rerun", "a", "--set", "env.A=2", "--wait", "--id", "b")
    assert jobkit("rerun", "b", "--set", "name=c", "--follow").out.splitlines()[1:] == ["2"]


def test_todays_environment_is_read_but_not_as_it_was(
    jobkit: Jobkit, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORD", "then")
    name = spec("run: echo ${WORD}\nbackend: none\n")
    jobkit("submit", name, "--wait", "--id", "a")
    monkeypatch.setenv("WORD", "now")
    assert jobkit("rerun", "a", "--follow").out.splitlines()[1:] == ["now"]
    assert jobkit("rerun", "a", "--as-it-was", "--follow", "--id", "b").out == "b\nthen\n"
    assert plan("a") == plan("b")


def test_secrets_are_taken_from_the_environment_again(
    jobkit: Jobkit, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "first")
    jobkit(
        "submit", spec("run: bash -c 'echo $TOKEN'\nbackend: none\nsecrets: [TOKEN]\n"), "--wait", "--id", "a"
    )
    monkeypatch.setenv("TOKEN", "second")
    assert jobkit("rerun", "a", "--as-it-was", "--follow").out.splitlines()[1:] == ["second"]
    monkeypatch.delenv("TOKEN")
    missing = jobkit("rerun", "a", "--as-it-was")
    assert missing.status == 2
    assert "secrets: not set in the submitting environment, got 'TOKEN'" in missing.err


def test_as_it_was_runs_the_old_copy_of_the_workdir(jobkit: Jobkit, spec: Spec, work: Path) -> None:
    (work / "data").write_text("then\n")
    jobkit("submit", spec("run: cat data\nbackend: none\nsnapshot: true\n"), "--wait", "--id", "a")
    (work / "data").write_text("now\n")
    assert jobkit("rerun", "a", "--as-it-was", "--follow").out.splitlines()[1:] == ["then"]
    assert jobkit("rerun", "a", "--follow").out.splitlines()[1:] == ["now"]


def test_as_it_was_and_a_change_contradict_each_other(jobkit: Jobkit, spec: Spec) -> None:
    jobkit("submit", spec("run: 'true'\nbackend: none\n"), "--wait", "--id", "a")
    assert jobkit("rerun", "a", "--as-it-was", "--set", "ranks=2").status == 2


def test_a_dry_run_shows_what_would_be_sent(jobkit: Jobkit, spec: Spec) -> None:
    jobkit("submit", spec("run: 'true'\nbackend: none\n"), "--wait", "--id", "a")
    done = jobkit("rerun", "a", "--dry-run", "--json", "--id", "b", "--set", "ranks=2")
    assert '"ranks": 2' in done.json["files"][1]["text"]
    assert len(find.every(os.environ)) == 1


@pytest.mark.parametrize("job", ["nothing", "a/0"])
def test_what_is_no_whole_job_is_refused(job: str, jobkit: Jobkit, spec: Spec) -> None:
    text = "run: 'true'\nbackend: none\nsweep: {a: [1]}\n"
    jobkit("submit", spec(text), "--wait", "--id", "a")
    assert jobkit("rerun", job).status == 2


def test_how_another_launchers_job_was_started_is_not_known(jobkit: Jobkit, foreign: str) -> None:
    done = jobkit("rerun", foreign)
    assert done.status == 2
    assert "was started by another launcher, and jobkit does not know how" in done.err


def test_as_it_was_checks_out_what_was_committed_and_changed(
    jobkit: Jobkit, spec: Spec, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*args: str) -> None:
        command = ("git", "-c", "user.name=a", "-c", "user.email=a@b", *args)
        subprocess.run(command, cwd=work, check=True, capture_output=True)

    git("init", "-q")
    (work / "data").write_text("committed\n")
    git("add", "data")
    git("commit", "-q", "-m", "first")
    (work / "data").write_text("then\n")
    jobkit("submit", spec("run: cat data\nbackend: none\n"), "--wait", "--id", "a")
    (work / "data").write_text("now\n")
    assert jobkit("rerun", "a", "--as-it-was", "--follow", "--id", "b").out == "b\nthen\n"
    assert jobkit("rerun", "b", "--as-it-was", "--follow", "--id", "c").out == "c\nthen\n"
    (work / "data").write_text("x\n" * 100_000)
    jobkit("submit", spec("run: cat data\nbackend: none\n"), "--wait", "--id", "d")
    refused = jobkit("rerun", "d", "--as-it-was", "--id", "e")
    assert refused.status == 2
    assert "too many to be recorded whole" in refused.err
