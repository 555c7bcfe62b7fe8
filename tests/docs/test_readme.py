"""What README.md shows is what happens: its commands, its specs, its program."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobkit.cli import parser

README = (Path(__file__).parent.parent.parent / "README.md").read_text()
PYTHON_BLOCK = r"```python\n(.*?)```"


def jobkit(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobkit", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def shown_after(command: str) -> list[str]:
    """Return the lines that README.md shows as the output of a command."""
    after = README.partition(f"$ {command}\n")[2]
    return re.split(r"^(?:\$ |```)", after, maxsplit=1, flags=re.M)[0].splitlines()


def specs() -> dict[str, str]:
    """Return the specs of README.md by the file name in their first line."""
    return {name: text for text, name in re.findall(r"```yaml\n(# (\S+)\n.*?)```", README, re.S)}


def test_the_first_launch_prints_what_is_shown(repository: Path) -> None:
    command = "jobkit launch -n 4 -- python docs/examples/allsum.py"
    done = jobkit(*command.split()[1:], cwd=repository)

    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted(shown_after(command))  # in any order


def test_the_spec_is_found() -> None:
    assert list(specs()) == ["train.yaml"]


@pytest.mark.parametrize("name", specs())
def test_a_spec_is_valid_and_can_be_shown(
    name: str, tmp_path: Path, jobkit_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "sesame")
    (tmp_path / name).write_text(specs()[name])

    checked = jobkit("validate", name, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    shown = jobkit("submit", name, "--dry-run", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "== spec.yaml" in shown.stdout
    assert "sesame" not in shown.stdout + shown.stderr
    assert not (jobkit_home / "jobs").exists()


def test_the_python_program_runs(tmp_path: Path) -> None:
    [program] = re.findall(PYTHON_BLOCK, README, re.S)
    (tmp_path / "program.py").write_text(program)
    done = jobkit("launch", "-n", "2", "--", "program.py", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"{rank} [{' '.join(['2.'] * 10)}]" for rank in (0, 1)]


def flags_of(verb: str) -> set[str]:
    [verbs] = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return {flag for action in verbs.choices[verb]._actions for flag in action.option_strings}


def test_every_verb_and_flag_that_is_shown_exists() -> None:
    commands = re.findall(r"^\$ jobkit (\w+)(.*)$", README, re.M)
    assert len(commands) > 10
    for verb, rest in commands:
        ours = re.split(r" -- |#|;", rest)[0]
        assert set(re.findall(r"--\w[\w-]*", ours)) <= flags_of(verb), rest
