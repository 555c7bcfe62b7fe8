from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from jobkit.jobs import find, truth

Jobkit = Callable[..., Any]
Spec = Callable[..., str]
Started = Callable[..., "subprocess.Popen[str]"]
Until = Callable[..., None]

SLEEP = "run: sleep 600\nbackend: none\n"
TRUE = "run: 'true'\nbackend: none\n"


def state(job: str = "last") -> str:
    return truth.look(find.one(job, os.environ).folder).state


def test_submitting_prints_the_id_alone(jobkit: Jobkit, spec: Spec) -> None:
    done = jobkit("submit", spec(TRUE))
    assert done.status == 0
    assert re.fullmatch(r"\d{8}-\d{6}-a-[0-9a-f]{4}\n", done.out)
    assert done.err == ""


def test_with_wait_the_states_are_told_and_the_status_is_the_jobs(jobkit: Jobkit, spec: Spec) -> None:
    text = "run: [bash, -c, 'echo out; echo last words >&2; exit 7']\nbackend: none\n"
    done = jobkit("submit", spec(text), "--wait", "--id", "a")
    assert done.status == 7
    assert done.out == "a\n"
    told = re.findall("^a: ([a-z]+)", done.err, re.M)
    # A look in passing may miss a state of a moment, never the last one nor their order.
    assert told == [state for state in ("queued", "starting", "running", "failed") if state in told]
    assert told[-1] == "failed"
    assert "a failed: rank 0 on " in done.err
    assert ": exit 7\n" in done.err
    assert "last lines of standard error of rank 0:\n  last words\n" in done.err
    assert f"logs: {find.one('a', os.environ).folder}/attempt-1\n" in done.err


@pytest.mark.parametrize(
    ("run", "status", "told"),
    [
        ("run: /nowhere/program", 127, "not found"),
        ("run: /etc/passwd", 126, "not executable"),
        ("run: [bash, -c, 'kill -9 $$']", 137, "killed by signal 9 (SIGKILL)"),
        ("run: sleep 600\ntime: 1s", 124, "time limit"),
        ("run: 'true'\nsetup: ['exit 3']", 125, "could not start"),
    ],
)
def test_every_end_has_its_status_and_its_words(
    run: str, status: int, told: str, jobkit: Jobkit, spec: Spec
) -> None:
    done = jobkit("submit", spec(f"{run}\nbackend: none\n"), "--wait")
    assert done.status == status
    assert told in done.err


def test_set_and_the_words_after_the_dashes_change_what_runs(jobkit: Jobkit, spec: Spec) -> None:
    name = spec("run: echo one\nbackend: none\n")
    done = jobkit("submit", name, "--set", "run=echo two", "--follow", "--wait", "--", "--three", "-n", "x y")
    assert done.out.splitlines()[1:] == ["two --three -n x y"]


def test_n_is_the_ranks_in_total(jobkit: Jobkit, spec: Spec) -> None:
    done = jobkit("submit", spec("run: bash -c 'echo $JOBKIT_SIZE'\nbackend: none\n"), "-n", "3", "--follow")
    assert sorted(done.out.splitlines()[1:]) == ["3", "3", "3"]


def test_following_passes_on_both_streams_and_the_status(jobkit: Jobkit, spec: Spec) -> None:
    text = "run: [bash, -c, 'echo out; echo err >&2; exit 7']\nbackend: none\n"
    done = jobkit("submit", spec(text), "--follow", "--id", "a")
    assert done.status == 7
    assert done.out == "a\nout\n"
    assert "\nerr\n" in done.err


def test_events_are_lines_of_json(jobkit: Jobkit, spec: Spec) -> None:
    text = "run: [bash, -c, 'echo hello; exit 7']\nbackend: none\n"
    done = jobkit("submit", spec(text), "--wait", "--follow", "--json", "--id", "a")
    events = done.events
    assert done.status == 7
    assert [event["id"] for event in events] == ["a"] * len(events)
    assert events[0]["event"] == "submitted"
    assert events[0]["run_dir"] == str(find.one("a", os.environ).folder)
    told = [event["state"] for event in events if event["event"] == "state"]
    assert told == [state for state in ("queued", "starting", "running", "failed") if state in told]
    assert [event["text"] for event in events if event["event"] == "output"] == ["hello\n"]
    last = events[-1]
    assert (last["event"], last["state"], last["exit"]["class"]) == ("ended", "failed", "exit 7")


def test_a_report_is_written_for_the_machines_that_read_junit(jobkit: Jobkit, spec: Spec, work: Path) -> None:
    text = "run: [bash, -c, 'echo why >&2; exit ${{ sweep.code }}']\nbackend: none\nsweep: {code: [0, 7]}\n"
    done = jobkit("submit", spec(text), "--junit", "report.xml")
    assert done.status == 7
    suites = ElementTree.parse(work / "report.xml").getroot()
    assert (suites.get("tests"), suites.get("failures")) == ("2", "1")
    failure = suites.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.text == "last lines of standard error of rank 0:\n  why"


def test_a_report_can_go_to_a_pipe(started: Started, spec: Spec) -> None:
    one = started("submit", spec(TRUE), "--junit", "/dev/stdout", "--id", "a")
    out, _ = one.communicate(timeout=60)
    assert one.returncode == 0
    assert ElementTree.fromstring(out.partition("\n")[2]).get("tests") == "1"


def test_a_report_that_cannot_be_written_is_told(jobkit: Jobkit, spec: Spec) -> None:
    done = jobkit("submit", spec(TRUE), "--junit", "nowhere/report.xml")
    assert done.status == 2
    assert "--junit nowhere/report.xml: its folder is not there" in done.err
    assert not find.every(os.environ)


def test_a_dry_run_touches_nothing_and_is_what_is_sent(
    jobkit: Jobkit, spec: Spec, monkeypatch: pytest.MonkeyPatch, jobkit_home: Path
) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    name = spec("run: 'true'\nbackend: none\nsecrets: [TOKEN]\nenv: {A: '1'}\n")
    shown = jobkit("submit", name, "--dry-run", "--id", "a")
    as_json = jobkit("submit", name, "--dry-run", "--id", "a", "--json").json
    assert shown.status == 0
    assert "TOKEN=<secret>" in shown.out
    assert "s3cret" not in shown.out + shown.err
    assert not jobkit_home.exists()
    jobkit("submit", name, "--wait", "--id", "a")
    sent = find.one("a", os.environ).folder
    for file in as_json["files"]:
        if file["text"] is not None:
            assert (sent / file["path"]).read_text() == file["text"]
    assert json.loads((sent / "submission" / "submission.json").read_text()) == as_json


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("run: 'true'\nsecrets: [NOT_SET]\n", [], "secrets: not set in the submitting environment"),
        ("run: 'true'\nforward: [NOT_SET]\n", [], "forward: not set in the submitting environment"),
        ("run: 'true'\nafter: [nothing]\n", [], "after: JOB: no such job"),
        ("run: 'true'\nranks: two\n", [], "a.yaml:2: ranks: "),
        ("run: 'true'\n", ["--id", "a/b"], "--id: not a job id"),
        ("run: 'true'\n", ["--executor", "slrum"], "expected one of local, slurm, ssh"),
        ("run: 'true'\n", ["--set", "nonsense"], "--set"),
        ("run: 'true'\n", ["-n", "0"], "-n"),
        ("", [], "empty"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(
    text: str, words: list[str], message: str, jobkit: Jobkit, spec: Spec, jobkit_home: Path
) -> None:
    done = jobkit("submit", spec(text), *words)
    assert done.status == 2
    assert message in done.err
    assert done.out == ""
    assert not jobkit_home.exists()


def test_a_file_that_is_not_there_is_told(jobkit: Jobkit) -> None:
    done = jobkit("submit", "nothing.yaml")
    assert (done.status, done.out) == (2, "")
    assert "nothing.yaml" in done.err


def test_an_id_is_taken_once(jobkit: Jobkit, spec: Spec) -> None:
    name = spec(TRUE)
    assert jobkit("submit", name, "--id", "a", "--wait").status == 0
    again = jobkit("submit", name, "--id", "a")
    assert (again.status, again.out) == (2, "")
    assert "a job of this id exists" in again.err


def test_of_two_submissions_of_one_id_one_wins(started: Started, spec: Spec) -> None:
    name = spec(TRUE)
    both = [started("submit", name, "--id", "a", "--wait") for _ in range(2)]
    outputs = [one.communicate()[0] for one in both]
    assert sorted(one.returncode for one in both) == [0, 2]
    assert sorted(outputs) == ["", "a\n"]


def test_a_suite_runs_every_spec_and_exits_as_the_first_to_fail(jobkit: Jobkit, spec: Spec) -> None:
    good, bad = spec(TRUE, "good.yaml"), spec("run: bash -c 'exit 7'\nbackend: none\n", "bad.yaml")
    done = jobkit("submit", good, bad, "--wait")
    assert done.status == 7
    assert len(done.out.splitlines()) == 2
    assert "1 of 2 jobs succeeded\n" in done.err
    assert "first to fail: " in done.err


def test_a_suite_with_a_wrong_spec_submits_nothing(jobkit: Jobkit, spec: Spec, jobkit_home: Path) -> None:
    done = jobkit("submit", spec(TRUE), spec("runs: x\n", "b.yaml"), spec("rnu: x\n", "c.yaml"))
    assert done.status == 2
    assert "b.yaml:1: runs" in done.err
    assert "c.yaml:1: rnu" in done.err
    assert not jobkit_home.exists()


def test_what_cannot_be_sent_does_not_keep_the_rest_of_a_suite_back(jobkit: Jobkit, spec: Spec) -> None:
    ssh = spec("run: 'true'\nexecutor: ssh\nssh: {hosts: [nowhere.invalid]}\n", "ssh.yaml")
    done = jobkit("submit", ssh, spec(TRUE, "good.yaml"), "--wait")
    assert done.status == 125
    assert len(done.out.splitlines()) == 1
    assert "ssh.yaml: nowhere.invalid: no such host" in done.err
    assert state() == "succeeded"


def test_one_id_for_several_specs_is_refused(jobkit: Jobkit, spec: Spec) -> None:
    assert jobkit("submit", spec(TRUE), spec(TRUE, "b.yaml"), "--id", "a").status == 2


def test_a_smoke_test_says_what_it_leaves_out(jobkit: Jobkit, spec: Spec) -> None:
    text = "run: bash -c 'echo $JOBKIT_SIZE'\nexecutor: slurm\nnodes: 2\nmemory: 16G\nsetup: ['exit 1']\n"
    text += "backend: none\n"
    done = jobkit("submit", spec(text), "--executor", "local", "-n", "2", "--follow")
    assert done.status == 0
    assert sorted(done.out.splitlines()[1:]) == ["2", "2"]
    assert "memory" in done.err.splitlines()[0]
    assert "setup" in done.err.splitlines()[0]


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
@pytest.mark.parametrize("follow", [[], ["--follow"]], ids=["wait", "wait and follow"])
def test_interrupting_a_wait_cancels_the_job(
    signum: signal.Signals, status: int, follow: list[str], started: Started, spec: Spec, until: Until
) -> None:
    one = started("submit", spec(SLEEP), "--wait", "--id", "a", *follow)
    until(lambda: find.every(os.environ) and state("a") == "running")
    one.send_signal(signum)
    out, err = one.communicate(timeout=60)
    assert one.returncode == status
    assert state("a") == "cancelled"
    assert out == "a\n"
    assert "interrupted, cancelling a" in err


def test_interrupting_follow_alone_leaves_the_job_running(started: Started, spec: Spec, until: Until) -> None:
    one = started("submit", spec("run: [bash, -c, 'echo on; sleep 600']\nbackend: none\n"), "--follow")
    assert one.stdout is not None
    assert [one.stdout.readline() for _ in range(2)][1] == "on\n"
    one.send_signal(signal.SIGINT)
    one.communicate(timeout=60)
    assert one.returncode == 130
    until(lambda: state() == "running")


def test_a_job_that_another_job_submitted_outlives_it(
    spec: Spec, jobkit: Jobkit, work: Path, until: Until
) -> None:
    inner = f"run: [bash, -c, 'while [ ! -e {work}/go ]; do sleep 0.02; done; exit 7']\nbackend: none\n"
    (work / "inner.yaml").write_text(inner)
    outer = "run: [python, -m, jobkit, submit, --id, inner, inner.yaml]\nbackend: none\n"
    assert jobkit("submit", spec(outer), "--wait", "--id", "outer").status == 0
    assert state("inner") in ("starting", "running")
    (work / "go").touch()
    assert jobkit("wait", "inner").status == 7


def test_killing_the_waiting_command_leaves_the_job_to_its_keeper(
    started: Started, spec: Spec, until: Until, jobkit: Jobkit, work: Path
) -> None:
    text = f"run: [bash, -c, 'while [ ! -e {work}/go ]; do sleep 0.02; done; exit 7']\nbackend: none\n"
    one = started("submit", spec(text), "--wait", "--id", "a")
    until(lambda: find.every(os.environ) and state("a") == "running")
    one.kill()
    one.communicate()
    assert state("a") == "running"
    (work / "go").touch()
    assert jobkit("wait", "a").status == 7


@pytest.mark.slow
def test_a_submission_killed_at_any_moment_leaves_a_job_whose_state_is_true(
    started: Started, spec: Spec, until: Until, jobkit: Jobkit, jobkit_home: Path
) -> None:
    name = spec(TRUE)
    for k in range(12):
        one = started("submit", name, "--id", f"job-{k:02}")
        time.sleep(0.1 + 0.04 * k)
        one.kill()
        one.communicate()
    for found in find.every(os.environ):
        until(lambda found=found: state(found.id) in ("succeeded", "lost"), f"the end of {found.id}")
        known = truth.look(found.folder)
        assert (known.state, known.exit and known.exit.status) in [("succeeded", 0), ("lost", 125)]
        assert (found.folder / "spec.yaml").read_text() == TRUE
    assert jobkit("clean", "--all").status == 0
    assert not list((jobkit_home / "jobs").iterdir()) if (jobkit_home / "jobs").exists() else True


def processes_of(run_dir: Path) -> dict[int, str]:
    """Return the processes that have a run folder in their command line or environment, with the former."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command, variables = ((path / name).read_text("latin-1") for name in ("cmdline", "environ"))
        except OSError:
            continue  # it has ended, or is not ours
        if str(run_dir) in (command + variables).split("\0"):
            found[int(path.name)] = command
    return found


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.1, 0.2, 0.3, 0.5])
def test_a_keeper_killed_at_any_moment_leaves_a_true_state_and_nothing_running(
    delay_s: float, started: Started, spec: Spec, until: Until, jobkit_home: Path
) -> None:
    run_dir = jobkit_home / "jobs" / "a"
    one = started("submit", spec("run: sleep 600\nbackend: none\n"), "--id", "a", "--wait")
    until(lambda: processes_of(run_dir), "a keeper")
    time.sleep(delay_s)

    def kill_the_keeper() -> bool:
        """Kill it, again where it was the process that starts it; tell whether the submitter has ended."""
        for pid, command in processes_of(run_dir).items():
            if "jobkit.jobs.keeper" in command:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return one.poll() is not None

    until(kill_the_keeper, "the end of the submission")
    _, err = one.communicate(timeout=60)
    known = truth.look(run_dir)
    assert one.returncode == 125, err
    assert (known.state, known.exit and known.exit.status) == ("lost", 125)
    assert known.reason
    assert "keeper" in err
    until(lambda: not processes_of(run_dir), "the end of all processes")


def test_the_command_line_and_the_commit_are_on_record(
    jobkit: Jobkit, spec: Spec, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    name = spec(TRUE)
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", name], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    (work / name).write_text(TRUE + "# changed\n")
    monkeypatch.setattr("sys.argv", ["jobkit", "submit", name, "--wait"])
    jobkit("submit", name, "--wait")
    raw = json.loads((find.one("last", os.environ).folder / "record.json").read_text())
    assert raw["schema"] == 1
    assert raw["origin"]["argv"] == ["jobkit", "submit", name, "--wait"]
    assert raw["origin"]["cwd"] == str(work)
    assert len(raw["origin"]["git"]["commit"]) == 40
    assert "+# changed" in raw["origin"]["git"]["diff"]


def test_a_folder_of_the_users_holds_the_run_folder(jobkit: Jobkit, spec: Spec, work: Path) -> None:
    name = spec(TRUE + "run_dir: runs\n")
    assert jobkit("submit", name, "--wait", "--id", "a").status == 0
    assert (work / "runs" / "a" / "record.json").exists()
    assert jobkit("status", "a", "--json").json["state"] == "succeeded"
