"""The command line as a whole: verbs, versions, mistakes."""

from __future__ import annotations

import subprocess
import sys

import pytest

import jobkit
from jobkit.cli import VERBS, main, verb_module


def jobkit_command(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobkit", *words], capture_output=True, text=True, timeout=60, **options
    )


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_a_run(verb: str) -> None:
    module = verb_module(verb)

    assert module.HELP and "\n" not in module.HELP
    assert callable(module.run) and callable(module.add_arguments)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_prints_its_help_on_stdout(verb: str) -> None:
    done = jobkit_command(verb, "--help")

    assert done.returncode == 0
    assert done.stdout.lower().startswith("usage: jobkit " + verb)


def test_the_version_goes_to_stdout() -> None:
    assert jobkit_command("--version").stdout == f"jobkit {jobkit.__version__}\n"


@pytest.mark.parametrize("words", [[], ["sbmit"], ["submit"], ["status"], ["submit", "--nonsense", "a.yaml"]])
def test_a_mistake_in_the_words_is_status_2_and_leaves_stdout_empty(words: list[str]) -> None:
    done = jobkit_command(*words)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr


def test_an_error_is_one_message_without_traceback(
    jobkit_home: object, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "no-such-job"]) == 2

    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("jobkit: error: ") and "Traceback" not in err
