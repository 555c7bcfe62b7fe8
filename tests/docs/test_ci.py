"""docs/ci.md: its YAML is YAML, its commands are jobkit's, and those that need no cluster do what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from jobkit.cli import parser

REPOSITORY = Path(__file__).parent.parent.parent
PAGE = (REPOSITORY / "docs" / "ci.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.M | re.S)
YAML = {text.partition("\n")[0].removeprefix("# "): text for kind, text in BLOCKS if kind == "yaml"}
CONSOLE = re.findall(
    r"^\$ (.*?)\n(?=\$|\Z)", "".join(t for kind, t in BLOCKS if kind == "console"), re.M | re.S
)
# jobkit, and its words up to the end of the command, of a string in Groovy, or of a comment.
COMMANDS = re.findall(r"\b(jobkit [a-z]+ [^\n|'#]*)", "".join(text for _, text in BLOCKS))


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "JOBKIT_HOME": str(folder / "home"), "GITHUB_ACTIONS": ""}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    line = line.replace("report.xml", str(folder / "report.xml"))
    return subprocess.run(
        ["bash", "-c", line], cwd=REPOSITORY, env=environ, capture_output=True, text=True, timeout=170
    )


def test_every_file_of_a_service_is_yaml() -> None:
    assert list(YAML) == [".github/workflows/smoke.yml", ".gitlab-ci.yml"]
    for text in YAML.values():
        assert isinstance(yaml.safe_load(text), dict)


def steps() -> list[dict[str, Any]]:
    return list(yaml.safe_load(YAML[".github/workflows/smoke.yml"])["jobs"]["smoke"]["steps"])


def test_a_step_of_github_s_runs_or_uses_something() -> None:
    assert all(("run" in step) != ("uses" in step) for step in steps())


def test_reports_are_kept_where_they_are_written() -> None:
    gitlab = yaml.safe_load(YAML[".gitlab-ci.yml"])
    for job in gitlab.values():
        assert f"--junit {job['artifacts']['reports']['junit']}" in " ".join(job["script"])
    assert any(step.get("with", {}).get("path") == "report.xml" for step in steps())


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_every_command_has_a_verb_and_flags_of_jobkit_s(command: str) -> None:
    words = shlex.split(command.replace("SPEC", "a.yaml").replace("...", ""), comments=True)
    parser().parse_args(words[1:])


def test_every_spec_that_is_named_is_there() -> None:
    named = set(re.findall(r"configs/[\w-]+\.yaml", PAGE))
    assert named
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


def test_commands_are_found() -> None:
    assert len(set(COMMANDS)) > 6
    assert len(CONSOLE) == 6


@pytest.mark.parametrize("number", range(len(CONSOLE)))
def test_what_needs_no_cluster_runs(number: int, tmp_path: Path) -> None:
    done = shell(CONSOLE[number], tmp_path)
    assert done.returncode == 0, done.stderr
    if "--junit" in CONSOLE[number]:
        report = ElementTree.parse(tmp_path / "report.xml").getroot()
        assert (report.get("failures"), report.get("errors"), report.get("skipped")) == ("0", "0", "0")
        assert int(report.get("tests", "0")) >= 2
    if "SLURM_PROCID" in CONSOLE[number]:
        assert sorted(done.stdout.split()) == ["0", "1", "2", "3"]
    if "--json" in CONSOLE[number]:
        assert done.stdout.splitlines()[-1] == "succeeded"
