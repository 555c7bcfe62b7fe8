from __future__ import annotations

import doctest

import pytest

from jobkit.errors import SubmitError
from jobkit.slurm import client, queue


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_last", None)


def answering(monkeypatch: pytest.MonkeyPatch, answers: dict[str, client.Answer]) -> list[str]:
    """Stand in for Slurm's commands; return the list that grows with those that are called."""
    asked: list[str] = []

    def call(words: tuple[str, ...], *_: object) -> client.Answer:
        asked.append(words[0])
        return answers[words[0]]

    monkeypatch.setattr(client, "call", call)
    return asked


def test_its_examples_hold() -> None:
    assert doctest.testmod(queue).failed == 0


@pytest.mark.parametrize("line", ["", "7|RUNNING", "slurm_load_jobs error: x"])
def test_a_line_that_is_none_is_passed_over(line: str) -> None:
    assert queue.parsed(line) is None


def test_a_comment_may_hold_anything() -> None:
    seen = queue.parsed("7|PENDING|N/A|Resources|a|b|c")
    assert seen == queue.Seen("7", "PENDING", None, "Resources", "a|b|c")


def test_a_name_is_not_taken_for_what_slurm_says() -> None:
    text = "JobId=7 JobName=a JobState=COMPLETED ExitCode=0:0 UserId=me(1) JobState=FAILED ExitCode=0:9"
    seen = queue.described(text)
    assert seen is not None
    assert (seen.state, seen.status) == ("FAILED", 137)


def test_many_looks_are_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(
        monkeypatch, {"squeue": client.Answer(0, "7|RUNNING|N/A|None|x\n8|PENDING|N/A|None|y\n", "")}
    )
    monkeypatch.setattr(queue, "FRESH_S", 1000.0)
    assert [set(queue.every({})) for _ in range(3)] == [{"7", "8"}] * 3
    assert asked == ["squeue"]


def test_an_error_is_no_empty_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, {"squeue": client.Answer(1, "", "Unable to contact slurm controller")})
    with pytest.raises(SubmitError, match="squeue: Unable to contact"):
        queue.every({})


def test_what_the_controller_has_forgotten_is_asked_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = client.Answer(1, "", "slurm_load_jobs error: Invalid job id specified")
    row = client.Answer(0, "7|CANCELLED by 1000|0:15|2026-11-22T10:00:00|jobkit:a\n", "")
    asked = answering(monkeypatch, {"scontrol": gone, "sacct": row})
    seen = queue.one("7", {})
    assert seen == queue.Seen("7", "CANCELLED", "2026-11-22T10:00:00.000000Z", "", "jobkit:a", 143)
    assert asked == ["scontrol", "sacct"]


def test_without_a_database_it_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = client.Answer(1, "", "slurm_load_jobs error: Invalid job id specified")
    answering(
        monkeypatch, {"scontrol": gone, "sacct": client.Answer(1, "", "accounting storage is disabled")}
    )
    assert queue.one("7", {}) is None


def test_an_error_of_the_controller_does_not_make_it_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, {"scontrol": client.Answer(1, "", "Unable to contact slurm controller")})
    with pytest.raises(SubmitError, match="scontrol: Unable"):
        queue.one("7", {})
