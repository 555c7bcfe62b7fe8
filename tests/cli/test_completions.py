"""The completions work in the shells that this machine has."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.cli import VERBS, completions

Jobkit = Callable[..., Any]


def run(shell: str, *words: str, cwd: Path) -> list[str]:
    """Run a shell without the user's own files, and return the words that it prints."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    done = subprocess.run([shell, *words], capture_output=True, text=True, timeout=60, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """Return what writes the script of a shell into a folder, beside a spec."""

    def write(shell: str) -> Path:
        (tmp_path / "train.yaml").touch()
        (tmp_path / "script").write_text(completions.script(shell))
        return tmp_path

    return write


def bash(folder: Path, *words: str) -> list[str]:
    """Return what bash offers for the last of some words."""
    given = " ".join(f"'{word}'" for word in words)
    text = f"COMP_WORDS=({given}); COMP_CWORD={len(words) - 1}; _shtab_jobkit; echo ${{COMPREPLY[@]}}"
    return run("bash", "--norc", "-c", f"source ./script; {text}", cwd=folder)


def test_bash_completes_verbs_options_choices_and_files(script: Callable[[str], Path]) -> None:
    folder = script("bash")
    assert bash(folder, "jobkit", "sub") == ["submit"]
    assert set(VERBS) <= set(bash(folder, "jobkit", ""))
    assert bash(folder, "jobkit", "submit", "--dry") == ["--dry-run"]
    assert bash(folder, "jobkit", "completions", "z") == ["zsh"]
    assert bash(folder, "jobkit", "hosts", "dis") == ["discover"]
    assert bash(folder, "jobkit", "submit", "tr") == ["train.yaml"]


def test_fish_completes_verbs_and_options(script: Callable[[str], Path]) -> None:
    folder = script("fish")

    def offered(line: str) -> list[str]:
        return run("fish", "--no-config", "-c", f"source ./script; complete -C '{line}'", cwd=folder)

    assert offered("jobkit sub")[0] == "submit"
    assert offered("jobkit submit --dry")[0] == "--dry-run"


def test_tcsh_takes_its_script(script: Callable[[str], Path]) -> None:
    assert "jobkit" in run("tcsh", "-f", "-c", "source ./script; complete", cwd=script("tcsh"))


def test_zsh_takes_its_script(script: Callable[[str], Path]) -> None:
    assert run("zsh", "-f", "-n", "script", cwd=script("zsh")) == []


@pytest.mark.parametrize("shell", completions.SHELLS)
def test_every_shell_has_a_script_with_every_verb(shell: str, jobkit: Jobkit) -> None:
    done = jobkit("completions", shell)
    assert done.status == 0
    assert [verb for verb in VERBS if verb not in done.out] == []


def test_another_shell_is_refused(jobkit: Jobkit, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        jobkit("completions", "ksh")
    assert caught.value.code == 2
