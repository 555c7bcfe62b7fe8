from __future__ import annotations

import doctest
import time
from pathlib import Path

import pytest

from jobkit.errors import SubmitError
from jobkit.slurm import client, queue, shared
from jobkit.slurm.queue import Seen

START, END = "2026-11-22T10:00:00", "2026-11-22T10:00:09"
GONE = client.Answer(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
NO_DATABASE = client.Answer(1, "", "Slurm accounting storage is disabled")


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_known", {})


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Where answers are kept in a folder of the test's own."""
    return {"JOBKIT_HOME": str(tmp_path)}


def answering(monkeypatch: pytest.MonkeyPatch, answers: dict[str, client.Answer]) -> list[str]:
    """Stand in for Slurm's commands; return the list that grows with those that are called."""
    asked: list[str] = []

    def call(words: tuple[str, ...], *_: object, **__: object) -> client.Answer:
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
    seen = queue.parsed("7|PENDING|0|N/A|N/A|Resources|a|b|c   ")
    assert seen == Seen("7", "PENDING", None, "Resources", "a|b|c")


def test_an_end_that_slurm_only_expects_is_none() -> None:
    seen = queue.parsed(f"7|RUNNING|0|{START}|{END}|None|(null)")
    assert seen == Seen("7", "RUNNING", f"{START}.000000Z", "", "")


def test_elements_of_an_array_are_told_apart(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = f"7_0|COMPLETED|0|{START}|{END}|None|x\n7_1|PENDING|0|N/A|N/A|JobArrayTaskLimit|x\n"
    answering(monkeypatch, {"squeue": client.Answer(0, out, "")})
    jobs = queue.every(environ)
    assert {number: (seen.state, seen.status) for number, seen in jobs.items()} == {
        "7_0": ("COMPLETED", 0),
        "7_1": ("PENDING", None),
    }


def test_many_looks_are_one_question(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    out = f"7|RUNNING|0|{START}|N/A|None|x\n8|PENDING|0|N/A|N/A|None|y\n"
    asked = answering(monkeypatch, {"squeue": client.Answer(0, out, "")})
    monkeypatch.setattr(shared, "FRESH_S", 1000.0)
    assert [set(queue.every(environ)) for _ in range(3)] == [{"7", "8"}] * 3
    assert asked == ["squeue"]


def test_answers_of_different_clusters_are_kept_apart(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answering(monkeypatch, {"squeue": client.Answer(0, "", "")})
    monkeypatch.setattr(shared, "FRESH_S", 1000.0)
    for conf in ("a", "b", "a"):
        queue.every({**environ, "SLURM_CONF": conf})
    assert asked == ["squeue", "squeue"]


def test_an_error_is_no_empty_queue(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, {"squeue": GONE})
    with pytest.raises(SubmitError, match="squeue: slurm_load_jobs error: Unable to contact"):
        queue.every(environ)
    assert asked == ["squeue"]


def test_garbage_is_no_empty_queue(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    garbage = client.Answer(0, "welcome to the cluster\n", "")
    asked = answering(monkeypatch, {"squeue": garbage, "scontrol": client.Answer(1, "", "no")})
    with pytest.raises(SubmitError, match="squeue: welcome to the cluster"):
        queue.every(environ)
    assert asked == ["squeue", "scontrol"]


def test_where_squeue_does_not_understand_scontrol_is_asked(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getuid", lambda: 5)
    shown = (
        f"JobId=7 JobName=a JobState=x UserId=me(5) JobState=FAILED Reason=NonZeroExitCode ExitCode=0:9 "
        f"StartTime={START} EndTime={END} Comment=jobkit:a\n"
        "JobId=8 ArrayJobId=8 ArrayTaskId=1,3-4%2 JobName=b UserId=me(5) JobState=PENDING Reason=Priority\n"
        "JobId=9 JobName=c UserId=you(6) JobState=RUNNING\n"
    )
    wrapper = client.Answer(1, "", "squeue: unrecognized option")
    answering(monkeypatch, {"squeue": wrapper, "scontrol": client.Answer(0, shown, "")})
    jobs = queue.every(environ)
    assert set(jobs) == {"7", "8_1", "8_3", "8_4"}
    times = f"{START}.000000Z", f"{END}.000000Z"
    assert jobs["7"] == Seen("7", "FAILED", times[0], "NonZeroExitCode", "jobkit:a", 137, times[1])
    assert (jobs["8_3"].state, jobs["8_3"].reason) == ("PENDING", "Priority")


def test_what_the_controller_has_forgotten_is_asked_of_the_database(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = client.Answer(0, f"7|CANCELLED by 1000|0:15|{START}|{END}|jobkit:a\n", "")
    asked = answering(monkeypatch, {"squeue": client.Answer(0, "", ""), "sacct": row})
    seen = queue.find(["7"], environ, since=0)["7"]
    times = f"{START}.000000Z", f"{END}.000000Z"
    assert seen == Seen("7", "CANCELLED", times[0], "", "jobkit:a", 143, times[1])
    assert asked == ["squeue", "sacct"]


def test_the_database_is_asked_once_for_an_array(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = "".join(f"7_{i}|COMPLETED|0:0|{START}|{END}|\n" for i in range(3))
    asked = answering(monkeypatch, {"squeue": client.Answer(0, "", ""), "sacct": client.Answer(0, out, "")})
    assert set(queue.find(["7_0", "7_2", "7_3"], environ, since=0)) == {"7_0", "7_2"}
    assert asked == ["squeue", "sacct"]


def test_without_a_database_it_is_unknown(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, {"squeue": client.Answer(0, "", ""), "sacct": NO_DATABASE})
    assert queue.find(["7"], environ, since=0) == {}


def test_a_number_that_is_new_is_looked_for_in_a_newer_answer(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answering(monkeypatch, {"squeue": client.Answer(0, "", "")})
    queue.every(environ)
    line = f"7|RUNNING|0|{START}|N/A|None|x\n"
    answering(monkeypatch, {"squeue": client.Answer(0, line, "")})
    assert queue.find(["7"], environ, since=time.time())["7"].state == "RUNNING"
    assert asked == ["squeue"]


@pytest.mark.parametrize("state", ["COMPLETED", "RUNNING", None])
def test_while_the_controller_is_away_the_database_tells_of_ends_alone(
    state: str | None, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = client.Answer(0, f"7|{state}|0:0|{START}|{END}|\n", "") if state else NO_DATABASE
    answering(monkeypatch, {"squeue": GONE, "sacct": row})
    if state == "COMPLETED":
        assert set(queue.find(["7"], environ, since=0)) == {"7"}
    else:
        with pytest.raises(SubmitError, match="squeue: slurm_load_jobs error: Unable"):
            queue.find(["7"], environ, since=0)
