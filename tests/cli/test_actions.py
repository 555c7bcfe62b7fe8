"""What GitHub's runner is told of jobs, and what stands in the summary of the step."""

from __future__ import annotations

import doctest
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.cli import actions

Jobkit = Callable[..., Any]
Spec = Callable[..., str]
FAILS = "run: [bash, -c, 'echo \"50%: a, b\" >&2; exit 7']\nbackend: none\nname: digits\n"


@pytest.fixture
def step(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A step of a workflow; its summary."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(work.parent))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(work / "summary.md"))
    return work / "summary.md"


def commands(text: str) -> list[tuple[str, dict[str, str], str]]:
    """Return the commands in a text as the runner reads them."""
    found = []
    for name, given, message in re.findall(r"^::(\w+) (.*?)::(.*)$", text, re.M):
        values = dict(item.split("=", 1) for item in given.split(","))
        found.append((name, {key: decoded(value) for key, value in values.items()}, decoded(message)))
    return found


def decoded(text: str) -> str:
    for code, letter in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, letter)
    return text


def test_examples() -> None:
    assert doctest.testmod(actions).failed == 0


def test_a_failure_is_an_annotation_of_its_spec(jobkit: Jobkit, spec: Spec, step: Path) -> None:
    done = jobkit("submit", spec(FAILS, "a, b.yaml"), "--wait")
    assert done.status == 7
    [(name, given, message)] = commands(done.err)
    assert (name, given["file"]) == ("error", "work/a, b.yaml")
    assert re.fullmatch(r"digits failed: rank 0 on \S+: exit 7", given["title"])
    assert message == "last lines of standard error of rank 0:\n  50%: a, b"


def test_the_summary_has_a_row_for_every_job_and_the_last_lines_of_failures(
    jobkit: Jobkit, spec: Spec, step: Path
) -> None:
    step.write_text("before\n")
    good = spec("run: 'true'\nbackend: none\nranks: 2\nname: fine|x\n", "good.yaml")
    assert jobkit("submit", spec(FAILS), good, "--wait").status == 7
    lines = step.read_text().splitlines()
    assert lines[:2] == ["before", "### jobkit: 1 of 2 jobs succeeded"]
    rows = [line for line in lines if line.startswith("| ")][2:]
    assert re.match(r"\| digits \| \S+ \| failed \| 1 \| [\d.]+ \| rank 0 on .*: exit 7 \|$", rows[0])
    assert re.match(r"\| fine\\\|x \| \S+ \| succeeded \| 2 \| [\d.]+ \| exit 0 \|$", rows[1])
    at = lines.index("```text")
    assert lines[at + 1 : at + 4] == ["last lines of standard error of rank 0:", "  50%: a, b", "```"]


def test_waiting_for_a_job_reports_too_and_json_stays_json(jobkit: Jobkit, spec: Spec, step: Path) -> None:
    jobkit("submit", spec(FAILS), "--id", "a")
    done = jobkit("wait", "a", "--json")
    assert done.status == 7
    assert [event["event"] for event in done.events][-1] == "ended"
    assert len(commands(done.err)) == 1
    assert "0 of 1 job succeeded" not in done.out
    assert "0 of 1 job succeeded" in step.read_text()


def test_a_pipeline_that_is_cancelled_still_reports(
    started: Callable[..., Any], spec: Spec, step: Path, until: Callable[..., None]
) -> None:
    one = started("submit", spec("run: sleep 600\nbackend: none\n"), "--wait", "--id", "a")
    until(lambda: "running" in one.stderr.readline(), "the start of the job")
    one.send_signal(signal.SIGTERM)
    _, said = one.communicate(timeout=60)
    assert one.returncode == 143
    [(name, given, _)] = commands(said)
    assert (name, given["title"]) == ("warning", "a cancelled: cancelled by its user")
    assert "| a | a | cancelled | 1 |" in step.read_text()


def test_a_wrong_spec_is_annotated_at_its_line(jobkit: Jobkit, spec: Spec, step: Path) -> None:
    done = jobkit("submit", spec("run: x\nrnaks: 2\n", "a.yaml"), "--wait")
    assert done.status == 2
    [(name, given, message)] = commands(done.err)
    assert (name, given["file"], given["line"]) == ("error", "work/a.yaml", "2")
    assert message.startswith("rnaks: ")


def test_checking_specs_annotates_every_complaint(jobkit: Jobkit, spec: Spec, step: Path) -> None:
    name = spec("run: x\nrnaks: 2\nbackend: tcp\ntime: 1:30\n", "a b.yaml")
    done = jobkit("validate", name)
    assert done.status == 2
    said = commands(done.err)
    assert [given["line"] for _, given, _ in said] == ["2", "3", "4"]
    assert {given["file"] for _, given, _ in said} == {"work/a b.yaml"}


def test_a_hint_stays_with_its_complaint(step: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "a.yaml:2: x: wrong\n\nhint: do this\nb.yaml:3: y: wrong\nsbatch: error: no"
    actions.refused(text, os.environ)
    said = [(given.get("line"), message) for _, given, message in commands(capsys.readouterr().err)]
    assert said == [("2", "x: wrong\n\nhint: do this"), ("3", "y: wrong"), (None, "sbatch: error: no")]


def test_outside_of_a_step_nothing_is_said(jobkit: Jobkit, spec: Spec, work: Path) -> None:
    done = jobkit("submit", spec(FAILS), "--wait")
    assert "::" not in done.err
    assert not (work / "summary.md").exists()


def test_a_summary_that_cannot_be_written_changes_no_status(
    jobkit: Jobkit, spec: Spec, step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "/nowhere/summary.md")
    done = jobkit("submit", spec(FAILS), "--wait")
    assert done.status == 7
    assert "GITHUB_STEP_SUMMARY /nowhere/summary.md: cannot be written" in done.err


def test_of_many_failures_the_first_ten_are_annotated(jobkit: Jobkit, spec: Spec, step: Path) -> None:
    points = json.dumps(list(range(12)))
    sweep = f"run: bash -c 'exit 3'\nbackend: none\nsweep: {{i: {points}}}\nparallel: 4\n"
    done = jobkit("submit", spec(sweep), "--wait")
    assert len(commands(done.err)) == 10
    assert "and 2 more that did not succeed" in step.read_text()


def test_a_block_holds_a_fence_of_the_program() -> None:
    assert actions.fenced("a\n````\nb").splitlines()[0] == "`````text"
