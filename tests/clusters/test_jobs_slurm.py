"""Jobs that `jobkit submit` gives to a real Slurm: what they find, how they end, what is told of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clusters.slurm import NODES, Slurm

Jobkit = Callable[..., subprocess.CompletedProcess[str]]
HELD = "held by its user; `scontrol release` lets it go (JobHeldUser)"
AWKWARD = "a,b='c' \"d\" $HOME `e` é\nsecond line=\\ %j;#"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder that jobs are submitted from."""
    folder = tmp_path / "work, with 'quotes' 100%"
    folder.mkdir()
    return folder


@pytest.fixture
def jobkit(cluster: Slurm, jobkit_home: Path, work: Path) -> Jobkit:
    """Run the command line on the login host."""

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return cluster.run("jobkit", *words, cwd=str(work), check=False, **variables)

    return run


@pytest.fixture
def spec(work: Path) -> Callable[..., str]:
    """Write a spec for two nodes of two ranks; return its name."""

    def write(run: str, *lines: str, backend: str = "none") -> str:
        head = ("executor: slurm", "nodes: 2", "ranks_per_node: 2", f"backend: {backend}")
        (work / "a.yaml").write_text("\n".join((*head, f"run: {run}", *lines)) + "\n")
        return "a.yaml"

    return write


def python(program: str) -> str:
    """Return the command that runs a program of Python's, as `run` takes it."""
    return json.dumps([sys.executable, "-c", program])


def status(jobkit: Jobkit, job: str = "last") -> Any:
    done = jobkit("status", job, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def until(jobkit: Jobkit, wait: Callable[..., Any], state: str) -> Any:
    assert wait(lambda: status(jobkit)["state"] == state), status(jobkit)
    return status(jobkit)


@pytest.mark.parametrize("module", [(), ("-m", "jobkit.native")], ids=["MLX's ring", "the bundled ring"])
def test_ranks_of_two_nodes_sum(
    jobkit: Jobkit, spec: Callable[..., str], repository: Path, module: tuple[str, ...]
) -> None:
    run = json.dumps([sys.executable, *module, str(repository / "docs/examples/allsum.py")])
    done = jobkit("submit", spec(run, "cpus_per_rank: 1", "time: 2m", backend="ring"), "--follow", "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("array([4, 4, 4, ..., 4, 4, 4], dtype=float32)") == 4
    known = status(jobkit)
    assert (known["state"], known["executor"], known["exit"]["status"]) == ("succeeded", "slurm", 0)
    assert sorted(rank["host"] for rank in known["ranks"]) == sorted(2 * NODES[:2])
    assert status(jobkit, f"slurm:{known['scheduler_id']}")["id"] == known["id"]
    logs = jobkit("logs", "last").stdout
    assert [logs.count(f"[{rank}] {rank} array(") for rank in range(4)] == [1] * 4
    assert f"{known['id']}  succeeded" in jobkit("list").stdout
    assert f"executor  slurm (job {known['scheduler_id']})\n" in jobkit("status", "last").stdout


def test_the_first_failing_rank_gives_the_status_and_the_others_end(
    jobkit: Jobkit, spec: Callable[..., str], cluster: Slurm
) -> None:
    program = "import os, sys, time; os.environ['JOBKIT_RANK'] == '3' and sys.exit(7); time.sleep(600)"
    done = jobkit("submit", spec(python(program)), "--wait")
    assert done.returncode == 7, done.stderr
    known = status(jobkit)
    assert (known["state"], known["exit"]["rank"], known["exit"]["class"]) == ("failed", 3, "exit 7")
    # One that was ended before its program had started has no record.
    assert all(rank["ended_by_jobkit"] or rank["status"] is None for rank in known["ranks"][:3])
    shown = cluster.run("scontrol", "show", "job", known["scheduler_id"]).stdout
    assert "JobState=FAILED" in shown
    assert "ExitCode=7:0" in shown
    assert jobkit("wait", "last").returncode == 7


def test_a_program_that_is_not_there_is_told(jobkit: Jobkit, spec: Callable[..., str]) -> None:
    done = jobkit("submit", spec("no-such-program"), "--wait")
    assert done.returncode == 127, done.stderr
    assert "no such program" in done.stderr


def test_values_arrive_as_they_are_and_secrets_leave_no_trace(
    jobkit: Jobkit, spec: Callable[..., str], work: Path, jobkit_home: Path
) -> None:
    names = ("AWKWARD", "FORWARDED", "SECRET", "INHERITED", "PLAIN")
    run = python(f"import json, os; print(json.dumps([[os.environ[n] for n in {names!r}], os.getcwd()]))")
    env = f"env: {{AWKWARD: {json.dumps(AWKWARD)}, PLAIN: '3.10'}}"
    given = {name: f"{name} {AWKWARD}" for name in names[1:4]}
    done = jobkit("submit", spec(run, env, "forward: [FORWARDED]", "secrets: [SECRET]"), "--wait", **given)
    assert done.returncode == 0, done.stderr
    expected = [[AWKWARD, *given.values(), "3.10"], str(work)]
    outputs = [jobkit("logs", "last", "--rank", str(rank)).stdout for rank in range(4)]
    assert [json.loads(output) for output in outputs] == [expected] * 4
    (run_dir,) = (jobkit_home / "jobs").iterdir()
    for path in run_dir.glob("attempt-1/*.out"):
        path.unlink()  # the program itself has printed it
    leaks = [path for path in jobkit_home.rglob("*") if path.is_file() and b"SECRET a,b" in path.read_bytes()]
    assert leaks == []


def test_cancel_ends_the_ranks(jobkit: Jobkit, spec: Callable[..., str], wait: Callable[..., Any]) -> None:
    assert jobkit("submit", spec(python("import time; time.sleep(600)"))).returncode == 0
    known = until(jobkit, wait, "running")
    assert known["reason"] is None
    assert jobkit("cancel", "last").returncode == 0
    known = status(jobkit)
    assert (known["state"], known["exit"]["status"], known["reason"]) == (
        "cancelled",
        143,
        "cancelled by its user",
    )
    assert jobkit("wait", "last").returncode == 143


def test_an_administrator_may_cancel_it_too(
    jobkit: Jobkit, spec: Callable[..., str], wait: Callable[..., Any], cluster: Slurm
) -> None:
    assert jobkit("submit", spec(python("import time; time.sleep(600)"))).returncode == 0
    cluster.run("scancel", until(jobkit, wait, "running")["scheduler_id"])
    assert jobkit("wait", "last").returncode == 143
    assert status(jobkit)["reason"] == "cancelled in Slurm"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("slurm: {partition: nope}",), "invalid partition"),
        (("cpus_per_rank: 999",), "not available"),
        (("slurm: {extra: {no-such-option: x}}",), "no-such-option"),
    ],
)
def test_what_can_never_start_is_refused_with_slurms_words_and_leaves_nothing(
    jobkit: Jobkit,
    spec: Callable[..., str],
    cluster: Slurm,
    jobkit_home: Path,
    lines: tuple[str, ...],
    words: str,
) -> None:
    done = jobkit("submit", spec("true", *lines))
    assert (done.returncode, done.stdout) == (125, "")
    assert words in done.stderr
    assert cluster.run("squeue", "--noheader", "--states=pending,running").stdout == ""
    assert list((jobkit_home / "jobs").iterdir()) == []


def test_why_a_job_waits_is_told(jobkit: Jobkit, spec: Callable[..., str]) -> None:
    assert jobkit("submit", spec("true", "slurm: {extra: {hold: ''}}")).returncode == 0
    known = status(jobkit)
    assert (known["state"], known["reason"]) == ("queued", HELD)
    assert jobkit("cancel", "last").returncode == 0
    assert status(jobkit)["state"] == "cancelled"


def test_nothing_of_an_allocation_around_the_submission_is_inherited(
    jobkit: Jobkit, spec: Callable[..., str], cluster: Slurm, work: Path
) -> None:
    name = spec(
        python("import os; print(os.environ['SLURM_STEP_NUM_TASKS'], os.environ.get('SLURM_NTASKS'))")
    )
    outer = cluster.run(
        *("srun", "-N1", "-n1", "--comment=outer", "jobkit", "submit", name),
        cwd=str(work),
        SLURM_NTASKS="3",
        SBATCH_PARTITION="nope",
    )
    assert outer.returncode == 0, outer.stderr
    assert jobkit("wait", "last").returncode == 0
    assert jobkit("logs", "last", "--rank", "0").stdout == "4 4\n"


def test_a_job_whose_submitter_was_killed_is_found_again(
    jobkit: Jobkit, spec: Callable[..., str], jobkit_home: Path
) -> None:
    job = jobkit("submit", spec("true", "slurm: {extra: {hold: ''}}")).stdout.strip()
    record = jobkit_home / "jobs" / job / "record.json"
    known = json.loads(record.read_text())
    number = known["scheduler_id"]
    known |= {"scheduler_id": None, "state": "submitting"}
    known["tasks"][0]["state"] = "submitting"
    record.write_text(json.dumps(known))
    assert status(jobkit, job)["scheduler_id"] == number
    assert json.loads(record.read_text())["scheduler_id"] == number


def test_an_end_that_slurm_has_forgotten_is_in_the_run_folder(
    jobkit: Jobkit, spec: Callable[..., str], cluster: Slurm, wait: Callable[..., Any], jobkit_home: Path
) -> None:
    job = jobkit("submit", spec("sh -c 'exit 5'")).stdout.strip()
    assert wait((jobkit_home / "jobs" / job / "attempt-1" / "batch.exit.json").exists)
    forgotten = jobkit("status", job, "--json", SLURM_CONF="/nowhere")
    assert json.loads(forgotten.stdout)["exit"]["status"] == 5


def test_ranks_sum_over_mpi(jobkit: Jobkit, spec: Callable[..., str], repository: Path) -> None:
    run = json.dumps([sys.executable, str(repository / "docs/examples/allsum.py")])
    done = jobkit("submit", spec(run, backend="mpi"), "--follow", "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("array([4, 4, 4, ..., 4, 4, 4], dtype=float32)") == 4


@pytest.mark.parametrize(("first", "ends"), [("true", ("succeeded", 0)), ("false", ("cancelled", 143))])
def test_a_job_starts_when_the_one_before_it_has_succeeded(
    jobkit: Jobkit, spec: Callable[..., str], work: Path, first: str, ends: tuple[str, int]
) -> None:
    go = work / "go"
    run = json.dumps(["sh", "-c", f'until test -e "{go}"; do sleep .1; done; {first}'])
    assert jobkit("submit", spec(run), "--id", "first").returncode == 0
    assert jobkit("submit", spec("true", "after: [first]"), "--id", "second").returncode == 0
    known = status(jobkit, "second")
    assert (known["state"], known["reason"]) == (
        "queued",
        "waiting for the jobs that it comes after (Dependency)",
    )
    go.touch()
    assert jobkit("wait", "second").returncode == ends[1]
    known = status(jobkit, "second")
    told = "a job that it comes after did not succeed" if ends[1] else None
    assert (known["state"], known["reason"]) == (ends[0], told)
    again = jobkit("submit", spec("true", "after: [first]"), "--wait")
    assert again.returncode == (0 if ends[1] == 0 else 125), again.stderr


@pytest.mark.parametrize("whom", ["getpid", "getppid"], ids=["program", "shim"])
def test_a_rank_that_is_killed_is_told(jobkit: Jobkit, spec: Callable[..., str], whom: str) -> None:
    kill = f"import os, time; os.environ['JOBKIT_RANK'] == '3' and os.kill(os.{whom}(), 9); time.sleep(600)"
    assert jobkit("submit", spec(python(kill)), "--wait").returncode == 137
    known = status(jobkit)
    assert (known["state"], known["exit"]["rank"], known["exit"]["host"]) == ("failed", 3, NODES[1])


def test_a_submitter_that_is_killed_leaves_one_job(
    jobkit: Jobkit, spec: Callable[..., str], cluster: Slurm, tmp_path: Path
) -> None:
    real, wrapper = shutil.which("sbatch"), tmp_path / "bin" / "sbatch"
    wrapper.parent.mkdir()
    script = (f'{real} "$@" || exit', 'case "$1" in --test-only);; *) kill -9 $PPID;; esac')
    wrapper.write_text("\n".join(("#!/bin/sh", *script, "")))
    wrapper.chmod(0o700)
    path = f"{wrapper.parent}:{os.environ['PATH']}"
    assert jobkit("submit", spec("true", "slurm: {extra: {hold: ''}}"), PATH=path).returncode in (-9, 137)
    known = status(jobkit)
    assert known["state"] == "queued"
    queue = cluster.run("squeue", "--noheader", "--states=pending", "--format=%i").stdout.split()
    assert queue == [known["scheduler_id"]]


def test_a_node_that_goes_down_is_no_failure_of_the_program(
    jobkit: Jobkit, spec: Callable[..., str], cluster: Slurm, wait: Callable[..., Any]
) -> None:
    assert jobkit("submit", spec(python("import time; time.sleep(600)"))).returncode == 0
    until(jobkit, wait, "running")
    cluster.run("scontrol", "update", f"NodeName={NODES[1]}", "State=DOWN", "Reason=test")
    try:
        assert jobkit("wait", "last").returncode == 125
        known = status(jobkit)
        assert (known["state"], known["exit"]["class"]) == ("lost", "node failure")
    finally:
        # Slurm refuses it where the node has come back by itself, as the cluster's ReturnToService allows.
        cluster.run("scontrol", "update", f"NodeName={NODES[1]}", "State=RESUME", check=False)
        cluster.until("idle\n", "sinfo", "--noheader", "--Node", f"--nodes={NODES[1]}", "--format=%T")


def test_a_submitter_that_waits_takes_its_job_along(
    jobkit: Jobkit, spec: Callable[..., str], cluster: Slurm, work: Path
) -> None:
    name = spec(python("import time; time.sleep(600)"))
    is_running = "squeue --noheader --states=running | grep -q ."
    script = f"jobkit submit {name} --wait & until {is_running}; do sleep .1; done; kill -TERM $!; wait $!"
    assert cluster.run("sh", "-c", script, cwd=str(work), check=False).returncode == 143
    known = status(jobkit)
    assert (known["state"], known["reason"]) == ("cancelled", "cancelled by its user")


@pytest.mark.slow
def test_a_controller_that_is_down_is_told_and_waited_for(
    jobkit: Jobkit, spec: Callable[..., str], cluster: Slurm, wait: Callable[..., Any], work: Path
) -> None:
    go = work / "go"
    program = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.1)\nraise SystemExit(5)"
    assert jobkit("submit", spec(python(program)), "--id", "before").returncode == 0
    until(jobkit, wait, "running")
    cluster.stop_controller()
    try:
        # An answer from a second ago is still one.
        assert wait(lambda: "Slurm cannot be asked" in (status(jobkit)["reason"] or ""))
        assert status(jobkit)["state"] in ("queued", "running")
        refused = jobkit("submit", spec("true"), "--id", "during")
        assert (refused.returncode, refused.stdout) == (125, "")
        go.touch()
    finally:
        cluster.start_controller()
    assert jobkit("wait", "before").returncode == 5
    assert [job["id"] for job in json.loads(jobkit("list", "--json").stdout)] == ["before"]


@pytest.mark.slow
def test_a_signal_comes_ahead_of_the_time_limit(
    jobkit: Jobkit, spec: Callable[..., str], cluster: Slurm, wait: Callable[..., Any]
) -> None:
    program = "import signal; signal.signal(signal.SIGUSR1, lambda *_: exit(9)); signal.pause()"
    name = spec(python(program), "time: 3m", "signal: {name: USR1, before: 1s}")
    assert jobkit("submit", name).returncode == 0
    number = until(jobkit, wait, "running")["scheduler_id"]
    cluster.run("scontrol", "update", f"JobId={number}", "TimeLimit=1")
    assert jobkit("wait", "last").returncode == 9


@pytest.mark.slow
def test_a_time_limit_is_told(
    jobkit: Jobkit, spec: Callable[..., str], cluster: Slurm, wait: Callable[..., Any]
) -> None:
    assert jobkit("submit", spec(python("import time; time.sleep(600)"), "time: 90s")).returncode == 0
    number = until(jobkit, wait, "running")["scheduler_id"]
    cluster.run("scontrol", "update", f"JobId={number}", "TimeLimit=00:00:01")
    done = jobkit("wait", "last")
    assert done.returncode == 124, done.stderr
    assert status(jobkit)["state"] == "timeout"
